"""What takes part in a comparison, and the films that all of it can be judged on.

A contender is a run folder, a folder of `hilum crossval` or `hilum evaluate`, or somebody else's predictions.csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hilum.data.manifest import PARTS
from hilum.errors import DataError, RequestError
from hilum.evaluation.metrics import Bools
from hilum.evaluation.predictions import COLUMNS, PREFIX, classes_of, read_predictions
from hilum.evaluation.run_folder import RunFolder


@dataclass(frozen=True)
class Contender:
    """A name, what it said of each film, and its folder where it is a run."""

    name: str
    path: Path
    predictions: pd.DataFrame
    run: RunFolder | None = None


def read_contenders(paths: Sequence[Path | str]) -> list[Contender]:
    """The runs behind the paths, each named by the last words of its path that tell it from the others.

    Refused with RequestError: a path that is neither a run nor a table, the same one twice; with DataError: broken
    predictions.
    """
    places = [Path(path) for path in paths]
    folders = [_folder(place) for place in places]
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise RequestError(
                "this run stands there twice", where=str(places[number]), next_step="Name each run once."
            )
    return [_read(place, name) for place, name in zip(places, _names(folders), strict=True)]


def same_films(
    contenders: Sequence[Contender], part: str, *, common: bool
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Each contender's rows of the films that all are judged on, by name, in one order; and what a reader must know.

    The classes stand in the order of the first. A patient is the one that the first table that knows it tells.
    Films of a patient of whom only some contenders learned other films are left out with `common` and refused without;
    so are films that are not in the part of every contender. Refused with RequestError besides: other classes, no
    film of the part; with DataError: a film with two labels.
    """
    tables = {each.name: _of_part(each, part) for each in contenders}
    classes = _one_set_of_classes(contenders)
    kept, notes = _in_all(contenders, tables, part, common)
    tables = {name: table.loc[kept, [*COLUMNS, *(PREFIX + each for each in classes)]] for name, table in tables.items()}
    _one_label(tables)
    patients = pd.concat([table["patient_id"] for table in tables.values()], axis=1).bfill(axis=1).iloc[:, 0]
    tables = {name: table.assign(patient_id=patients) for name, table in tables.items()}
    keep, more = _evenly_seen(contenders, patients, part, common)
    return {name: table[keep].reset_index(drop=True) for name, table in tables.items()}, notes + more


def _folder(place: Path) -> Path:
    """What a path is called: the folder of a predictions.csv, another table without its suffix."""
    place = place.resolve()
    if place.name == "predictions.csv":
        return place.parent
    return place.with_suffix("") if place.suffix.lower() == ".csv" else place


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as it takes for all names to differ.

    >>> _names([Path("runs/a"), Path("runs/b")])
    ['a', 'b']
    >>> _names([Path("runs/a/evaluations/cohen"), Path("runs/b/evaluations/cohen")])
    ['a/evaluations/cohen', 'b/evaluations/cohen']
    """
    for length in range(1, max((len(folder.parts) for folder in folders), default=1)):
        names = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _read(path: Path, name: str) -> Contender:
    if path.is_dir():
        if (path / "recipe.toml").is_file() or not (path / "predictions.csv").is_file():
            run = RunFolder(path)
            return Contender(name, path, run.predictions(), run)
        return Contender(name, path, read_predictions(path / "predictions.csv"))
    if path.suffix.lower() != ".csv":
        raise RequestError(
            "this is no run folder and no table of predictions" if path.exists() else "there is no run here",
            where=str(path),
            next_step="Name run folders, or tables such as predictions.csv.",
        )
    return Contender(name, path, read_predictions(path))


def _of_part(contender: Contender, part: str) -> pd.DataFrame:
    """The labelled films of the part, by image_id; a table without parts is one test part."""
    table = contender.predictions
    parts = table["part"].fillna("test")
    films = table[(parts == part) & table["label"].notna()]
    if films.empty:
        there = ", ".join(f"{name} {int((parts == name).sum())}" for name in PARTS if (parts == name).any())
        unlabelled = " with a label" if (parts == part).any() else ""
        raise RequestError(
            f"it has no film{unlabelled} in the part {part!r}; its films: {there}",
            where=str(contender.path),
            next_step="Choose another part with --part.",
        )
    return films.assign(part=part).set_index("image_id", drop=False)


def _one_set_of_classes(contenders: Sequence[Contender]) -> list[str]:
    first = contenders[0]
    classes = classes_of(first.predictions)
    for other in contenders[1:]:
        theirs = classes_of(other.predictions)
        if set(theirs) != set(classes):
            raise RequestError(
                f"its classes are {', '.join(theirs)}; those of {first.name} are {', '.join(classes)}",
                where=str(other.path),
                next_step="Only runs of the same task can be compared.",
            )
    return classes


def _in_all(
    contenders: Sequence[Contender], tables: dict[str, pd.DataFrame], part: str, common: bool
) -> tuple[pd.Index, list[str]]:
    """image_id of the films that are in this part of every contender, in the order of the first."""
    kept = next(iter(tables.values())).index
    for table in tables.values():
        kept = kept[kept.isin(table.index)]
    counts = ", ".join(f"{name} {len(table)}" for name, table in tables.items())
    learned = {name: int(kept_out.sum()) for name, kept_out in _learned_by_another(contenders, tables, part).items()}
    told = [f"{n} of {name} are films that another run learned from" for name, n in learned.items() if n]
    if len(kept) == max(len(table) for table in tables.values()):
        return kept, []
    words = f"the runs' {part} parts are not the same films: {counts}; {len(kept)} are in all of them"
    if not common or kept.empty:
        raise RequestError(
            "; ".join([words, *told]),
            next_step="Compare them on the common films with --common." if len(kept) else "No film is common to all.",
        )
    return kept, ["; ".join([words + ", and the comparison rests on these alone", *told])]


def _learned_by_another(
    contenders: Sequence[Contender], tables: dict[str, pd.DataFrame], part: str
) -> dict[str, Bools]:
    """Of each contender's films of the part, those that another one learned from."""
    learned = {each.name: set(_learned(each, part)["image_id"]) for each in contenders}
    return {
        name: table.index.isin(set().union(*(films for other, films in learned.items() if other != name)))
        for name, table in tables.items()
    }


def _learned(contender: Contender, part: str) -> pd.DataFrame:
    """The rows that the contender trained on or was steered by, before it came to this part."""
    return contender.predictions[contender.predictions["part"].isin(PARTS[: PARTS.index(part)])]


def _one_label(tables: dict[str, pd.DataFrame]) -> None:
    first, *others = tables
    for name in others:
        differs = (tables[name]["label"] != tables[first]["label"]).to_numpy(bool)
        if differs.any():
            film = tables[name].index[int(differs.argmax())]
            raise DataError(
                f"{film} is {tables[first].loc[film, 'label']!r} in {first} and {tables[name].loc[film, 'label']!r} in "
                f"{name}, and {int(differs.sum())} films have two labels so",
                next_step="Judge both by one truth: mend the column 'label' of one of them.",
            )


def _evenly_seen(
    contenders: Sequence[Contender], patients: pd.Series, part: str, common: bool
) -> tuple[Bools, list[str]]:
    """Which films to keep: those of whose patient all contenders learned, or none."""
    before = PARTS[: PARTS.index(part)]
    seen = np.column_stack([patients.isin(_learned(each, part)["patient_id"].dropna()) for each in contenders])
    uneven: Bools = np.asarray(seen.any(1) & ~seen.all(1), dtype=bool)
    notes = [
        f"{each.name} does not tell which films it learned from, so nobody knows whether it had seen some of these"
        for each in contenders
        if each.run is None and not each.predictions["part"].isin(before).any()
    ]
    if leaked := int(seen.all(1).sum()):
        notes.append(
            f"every run learned from other films of the patients of {leaked} of these films, which flatters all"
        )
    if not uneven.any():
        return ~uneven, notes
    who = ", ".join(f"{each.name} {int((seen[:, place] & uneven).sum())}" for place, each in enumerate(contenders))
    words = f"{int(uneven.sum())} films are of patients of whom only some runs learned other films: {who}"
    if not common or uneven.all():
        raise RequestError(
            words,
            next_step="No film is left to compare them on." if uneven.all() else "Leave them out with --common.",
        )
    return ~uneven, [*notes, words + "; they are left out"]
