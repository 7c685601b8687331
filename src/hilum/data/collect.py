"""From a recipe to the rows of a run: read, filter, map to classes, look at the files, split; all losses counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from hilum.data import sources
from hilum.data.match import match
from hilum.data.needs import as_flags, listed
from hilum.data.readers.common import left_out
from hilum.data.sample import sample
from hilum.data.split import split
from hilum.data.task import LEFT_OUT_COLUMNS, apply_task
from hilum.data.where import where
from hilum.errors import DataError, RequestError
from hilum.image.scan import scan
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Data, Recipe, Split, Task

FACTS = ("width", "height", "bits", "mode", "format", "sha256", "phash", "phash_sizes")


@dataclass(frozen=True)
class Collection:
    """The films of a run.

    manifest: with `class` and, once split, `part`. classes: in the order of the network's outputs. left_out: reason ->
    films. notes: what every output must say of these data, as that they leak. scheme: how they were split.
    """

    manifest: pd.DataFrame
    classes: list[str]
    left_out: Mapping[str, int]
    notes: list[str]
    scheme: str = "not split"


def collect(recipe: Recipe, *, progress: Progress = SILENT) -> Collection:
    """All that stands before the network: the recipe's sources as one table of films, classes and parts.

    Refused with RequestError or DataError, which name the thing: see `sources.read`, `apply_task` and `split`.
    """
    return parted(drawn_films(recipe, progress=progress), recipe.split)


def drawn_films(recipe: Recipe, *, progress: Progress = SILENT) -> Collection:
    """The films that the recipe draws from its sources; not split yet."""
    needs = recipe.about.needs
    if needs and not recipe.data.source:
        raise RequestError(
            f"no films were named, and the recipe needs those of {listed(needs)}",
            where=recipe.about.title,
            next_step=f"Give {as_flags(dict.fromkeys(needs, 'FOLDER'))}. They are to be had here: "
            + "; ".join(f"{reader}, {place}" for reader, place in needs.items()),
        )
    films = films_of_task(recipe.data, recipe.task, workers=recipe.training.workers, progress=progress)
    if recipe.data.match:
        matched = match(films.manifest, recipe.data.match, seed=recipe.split.seed)
        left_so_far = {**films.left_out, **matched.left}
        films = replace(films, manifest=matched.manifest, left_out=left_so_far, notes=[*films.notes, matched.note])
    drawn = sample(films.manifest, recipe.data, recipe.split)
    left = {**films.left_out, **{f"not drawn, of the class {name}": count for name, count in drawn.left.items()}}
    return replace(films, manifest=drawn.manifest, left_out=left, notes=[*films.notes, *drawn.notes])


def parted(films: Collection, how: Split) -> Collection:
    """The same films in parts; those that would leak are left out and counted."""
    found = split(films.manifest, how)
    left = dict(films.left_out)
    if len(found.dropped):
        left["in a part where it would leak (split.leaks = 'drop')"] = len(found.dropped)
    return Collection(found.manifest, films.classes, left, [*films.notes, *found.notes], found.scheme)


def films_of_task(
    data: Data, task: Task, *, every_class: bool = True, workers: int | None = None, progress: Progress = SILENT
) -> Collection:
    """The readable films of the sources that pass the filter and have a class; not split yet."""
    if not data.source:
        raise RequestError("no films were named", next_step="Name them with --data READER:PATH or --data PATH.")
    read = sources.read(*data.source)
    left: dict[str, int] = {}
    for what, count in left_out(read):
        left[what] = left.get(what, 0) + count
    chosen = where(read, data.where) if data.where else read
    if len(chosen) < len(read):
        left[f"not where {data.where}"] = len(read) - len(chosen)
    mapped = apply_task(chosen, data, task, every_class=every_class)
    for label, count, reason in mapped.left_out[list(LEFT_OUT_COLUMNS)].to_numpy(object):
        if count:
            left[f"label {label if pd.notna(label) else '(missing)'}: {reason}"] = int(count)
    whole, unreadable = with_facts(mapped.manifest, workers=workers, progress=progress)
    notes = []
    if len(unreadable):
        left["cannot be read"] = len(unreadable)
        notes.append(_unreadable(unreadable))
        # What is left must still make a task; the counts in its errors are those of films that can be read.
        whole = apply_task(whole, data, task, every_class=every_class).manifest
    return Collection(whole, mapped.classes, left, notes)


def with_facts(
    manifest: pd.DataFrame, *, workers: int | None = None, progress: Progress = SILENT
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The films that can be read, with width, height, bits, mode, format, sha256, phash, phash_sizes; and the others.

    The second table has the columns path and error. Refused with DataError: not one film can be read.
    """
    facts = scan([Path(path) for path in manifest["path"]], workers=workers, progress=progress)
    well = facts["error"].isna().to_numpy()
    whole = manifest[well].reset_index(drop=True)
    for name in FACTS:
        whole[name] = facts.loc[well, name].reset_index(drop=True).astype(manifest[name].dtype)
    unreadable = facts.loc[~well, ["path", "error"]].reset_index(drop=True)
    if not len(whole):
        first = unreadable.iloc[0]
        raise DataError(
            f"not one of {len(manifest)} films can be read; the first, {Path(first['path']).name}: {first['error']}"
        )
    return whole, unreadable


def _unreadable(films: pd.DataFrame) -> str:
    first = films.head(3)
    named = "; ".join(f"{Path(path).name} ({error})" for path, error in zip(first["path"], first["error"], strict=True))
    more = f"; and {len(films) - 3} more" if len(films) > 3 else ""
    return f"{len(films)} films could not be read and were left out: {named}{more}"
