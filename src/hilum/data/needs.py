"""The collections that a recipe needs, and where they lie on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from hilum.data.sources import READERS, parse


def found(needs: Iterable[str], given: Iterable[str]) -> dict[str, str | None]:
    """Where the collection of each reader lies, or None.

    given: sources as READER:PATH, paths of collections, or folders with collections in them. A path counts where the
    reader recognises its layout; nothing in it is read. Refused with RequestError: a path that is not there.
    """
    places: dict[str, str | None] = dict.fromkeys(needs)
    for text in given:
        folder = Path(text).expanduser()
        if not folder.is_dir():
            source = parse(text)
            candidates = [source.path] if READERS[source.reader].recognises(source.path) else []
        else:
            candidates = [folder, *sorted(inner for inner in folder.iterdir() if inner.is_dir())]
        for reader in places:
            there = [path for path in candidates if READERS[reader].recognises(path)]
            if there and places[reader] is None:
                # A folder that is named as the collection comes before a part or copy of it.
                places[reader] = str(min(there, key=lambda path: path.name != reader))
    return places


def as_flags(places: Mapping[str, str]) -> str:
    """The flags that name the collections for a command.

    >>> as_flags({"cohen": "data/cohen", "kermany": "data/kermany"})
    '--data cohen:data/cohen --data kermany:data/kermany'
    """
    return " ".join(f"--data {reader}:{place}" for reader, place in places.items())


def listed(names: Iterable[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["cohen", "figure1", "rsna"])
    'cohen, figure1 and rsna'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
