"""Matching: classes with the same ages, views and sexes, so that none of these can stand for the disease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hilum.data.groups import drawn_order
from hilum.data.words import count_of, enumerated
from hilum.errors import DataError

AGE_BANDS_YEARS = (2, 6, 12, 18, 30, 40, 50, 60, 70, 80)  # children's chests change faster than adults'
_COLUMNS = {"age": "age_years", "view": "view", "sex": "sex", "source": "source"}


@dataclass(frozen=True)
class Matched:
    """The films kept; what was left out, reason -> films; and what every output says of it."""

    manifest: pd.DataFrame
    left: dict[str, int]
    note: str


def match(manifest: pd.DataFrame, by: Sequence[str], *, seed: int = 0) -> Matched:
    """Of each combination of age band, view, sex or source, as many films of each class as the rarest class has.

    by: of "age", "view", "sex", "source". A film of which one of them is unknown cannot be matched and is left out. The
    films that are kept are drawn by a hash of their names, so they are the same whatever the order of the
    rows. After it the classes are of one size and have one distribution of each column, alone and together.
    Refused with DataError: no combination has films of all classes, for then no film would be left.

    >>> films = pd.DataFrame({"image_id": list("abcd"), "class": ["ill", "ill", "ill", "well"],
    ...                       "view": ["PA", "PA", "AP", "PA"]})
    >>> found = match(films, ["view"])
    >>> found.manifest["class"].tolist(), found.manifest["view"].tolist()
    (['ill', 'well'], ['PA', 'PA'])
    >>> found.left
    {'no partner of the same view, of the class ill': 2}
    """
    cells = pd.DataFrame({name: _banded(manifest[_COLUMNS[name]], name) for name in by}, index=manifest.index)
    left = {
        f"{name} is unknown, so the film cannot be matched": int(count)
        for name, count in _first_missing(cells).value_counts().items()
    }
    known = cells.notna().all(axis=1)
    cell = cells[known].agg("/".join, axis=1)
    label = manifest.loc[known, "class"]
    kept = pd.crosstab(cell, label).reindex(columns=sorted(manifest["class"].unique()), fill_value=0).min(axis=1)
    if not len(kept) or kept.sum() == 0:
        raise DataError(
            f"no film would be left: nowhere do all classes have films of the same {enumerated(list(by))}",
            where="data.match",
            next_step="Match by less, or add films; as they are, these films cannot tell the classes from "
            f"{enumerated(list(by), 'or')}.",
        )
    order = label.index[drawn_order(manifest.loc[known, "image_id"].astype(str).tolist(), seed=seed, draw="match")]
    rank = label[order].groupby([cell[order], label[order]]).cumcount()
    chosen = rank.index[rank < cell[order].map(kept)]
    lonely = label.drop(chosen).value_counts().sort_index()
    what = enumerated(list(by))
    left |= {f"no partner of the same {what}, of the class {name}": int(count) for name, count in lonely.items()}
    found = manifest.loc[sorted(chosen)].reset_index(drop=True)
    each = len(found) // label.nunique()
    note = (
        f"matched by {what}: {count_of(each, 'film')} of each class, with the same {what}; "
        f"{len(manifest) - len(found)} of {count_of(len(manifest), 'film')} were left out "
        f"({int((~known).sum())} because one of these is unknown)"
    )
    return Matched(found, left, note)


def _banded(values: pd.Series, name: str) -> pd.Series:
    """As text; ages as the number of their band."""
    if name != "age":
        return values.astype("string")
    bands = pd.cut(values.astype(float), [-float("inf"), *AGE_BANDS_YEARS, float("inf")], right=False, labels=False)
    return bands.astype("Int64").astype("string")


def _first_missing(cells: pd.DataFrame) -> pd.Series:
    """The first column of each row that is unknown; rows without one are not in it."""
    absent = cells.isna()
    return absent.idxmax(axis=1)[absent.any(axis=1)]
