"""Numbers and names in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def count_of(n: int, one: str, many: str = "") -> str:
    """
    >>> count_of(1, "film"), count_of(1200, "film"), count_of(2, "copy", "copies")
    ('1 film', '1200 films', '2 copies')
    """
    return f"{n} {one if n == 1 else many or one + 's'}"


def enumerated(names: Iterable[object], last: str = "and", *, most: int | None = None) -> str:
    """Names in a sentence; with `most`, the first so many, and how many more there are.

    >>> enumerated(["PA", "AP", "lateral"], "or")
    'PA, AP or lateral'
    >>> enumerated(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    words = [str(name) for name in names]
    if most is not None and len(words) > most:
        words = [*words[:most], f"{len(words) - most} more"]
        last = "and"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else "none"
