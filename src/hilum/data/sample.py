"""So many films of each class, drawn from all that there are. A published test part is left whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from hilum.data.groups import drawn_order
from hilum.data.split import published_test
from hilum.data.task import is_under, normal_form
from hilum.errors import DataError, RequestError
from hilum.recipe.load import nearest
from hilum.recipe.schema import Data, Split


@dataclass(frozen=True)
class Sample:
    """The films that are used, how many of each class were not drawn, and notes on classes that have fewer.

    Where films that are not drawn are for training, the manifest holds them too, with a true `undrawn`.
    """

    manifest: pd.DataFrame
    left: Mapping[str, int]
    notes: tuple[str, ...]


def sample(manifest: pd.DataFrame, data: Data, how: Split) -> Sample:
    """Draw the films of `data.per_class` or `data.draw`; all of them where neither is asked for.

    `data.per_class` draws at most so many films of each class, `data.draw` exactly so many of each class that it names,
    or of each label, with its subtypes, where a class is made of several.
    Where the split will keep a published test part, that part stays whole and is not counted: a study that cut its
    train part to 460 films of each class was tested on all that was published. The same films are drawn whatever the
    order of the rows, and a film more or less changes little. With `data.undrawn` = "train" nothing is left out; see
    `Sample`.

    Refused with RequestError: a class that is not there. Refused with DataError: fewer films of a class than
    `data.draw` asks for, with the setting that draws what there is.

    >>> films = pd.DataFrame({"image_id": list("abcde"), "class": ["ill"] * 3 + ["well"] * 2, "source": "x",
    ...                       "split": pd.NA})
    >>> drawn = sample(films, Data(draw={"ill": 2}), Split())
    >>> drawn.manifest["class"].tolist(), drawn.left
    (['ill', 'ill', 'well', 'well'], {'ill': 1})
    """
    if data.per_class is None and not data.draw:
        return Sample(manifest, {}, ())
    kind = manifest["class"] if data.per_class is not None else _kinds(manifest, list(data.draw))
    stays = published_test(manifest, how)
    there = kind[~stays].value_counts().sort_index()
    if data.draw:
        _check_enough(data.draw, there, any_published=bool(stays.any()))
    order = manifest.index[drawn_order(manifest["image_id"].tolist(), seed=how.seed, draw="per_class")]
    order = order[~stays[order]]
    rank = kind[order].groupby(kind[order]).cumcount()
    limit = kind.map(data.draw) if data.draw else pd.Series(data.per_class, index=kind.index)
    used = stays | limit.isna() | (rank.reindex(kind.index) < limit)
    if data.undrawn == "train":
        return Sample(manifest.assign(undrawn=~used), {}, ())
    left = manifest.loc[~used, "class"].value_counts().sort_index()
    notes = tuple(
        f"the class {name} has {count} films, fewer than the {data.per_class} of data.per_class; all of them are used"
        for name, count in there.items()
        if data.per_class is not None and count < data.per_class
    )
    counts = {str(name): int(count) for name, count in left.items()}
    return Sample(manifest[used].reset_index(drop=True), counts, notes)


def _kinds(manifest: pd.DataFrame, names: list[str]) -> pd.Series:
    """Which name of `data.draw` each film goes by: its class, else the nearest label above its own, else none."""
    classes = sorted(manifest["class"].unique())
    labels = sorted(manifest["label"].dropna().unique()) if "label" in manifest else []
    kind = manifest["class"].where(manifest["class"].isin(names))
    for name in sorted(names, key=len):
        if name in classes:
            continue
        under = [label for label in labels if is_under(normal_form(label), normal_form(name))]
        if not under:
            raise RequestError(
                f"there is no class {name!r} and no such label",
                where="data.draw",
                next_step=nearest(name, [*classes, *labels]),
            )
        kind = kind.mask(manifest["label"].isin(under) & ~manifest["class"].isin(names), name)
    return kind


def _check_enough(draw: Mapping[str, int], there: pd.Series, *, any_published: bool) -> None:
    short = {name: int(there.get(name, 0)) for name, count in draw.items() if there.get(name, 0) < count}
    if short:
        lacking = ", ".join(f"{name} {there} of {draw[name]}" for name, there in short.items())
        settings = " ".join(f"--set data.draw.{name}={there}" for name, there in short.items())
        raise DataError(
            f"there are fewer films than are to be drawn: {lacking}"
            + (" (beside the published test part)" if any_published else ""),
            where="data.draw",
            next_step=f"Add the films that are missing, or draw what there is: {settings}",
        )
