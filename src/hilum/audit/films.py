"""The films that are audited: their classes, who belongs together, and the pairs that are one film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.audit.limits import Limit, limits_of
from hilum.data import duplicates
from hilum.data.groups import chain, components, drawn_order
from hilum.data.overlaps import links_of
from hilum.data.summary import main_labels
from hilum.errors import DataError
from hilum.recipe.schema import Audit

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Films:
    """What all checks of the data are given.

    y (N,): place in `classes`, -1 where the class is unknown. groups (N,): the same for films of one patient, and for
    copies of one film. pairs: of `duplicates.find`; missing where no file was looked into.
    """

    manifest: pd.DataFrame
    classes: list[str]
    y: Ints
    groups: Ints
    pairs: pd.DataFrame | None
    limits: Mapping[str, Limit]
    how: Audit

    def patients(self, rows: NDArray[np.bool_] | None = None) -> int | None:
        """How many known patients these films are of; missing where none is known."""
        known = self.manifest["patient_id"] if rows is None else self.manifest.loc[rows, "patient_id"]
        return int(known.nunique()) or None


def films_of(manifest: pd.DataFrame, how: Audit) -> Films:
    """The films of a manifest. The class is the column `class` where a task has filled it, else the main label.

    Refused with RequestError: limits for a check that is not there. Refused with DataError: no film, no known class.

    >>> rows = pd.DataFrame({"image_id": ["1", "2", "3"], "label": ["pneumonia/viral", "normal", None],
    ...                      "patient_id": ["ann", "ann", None], "sha256": None, "phash": None})
    >>> films = films_of(rows, Audit())
    >>> films.classes, films.y.tolist(), films.groups.tolist()
    (['normal', 'pneumonia'], [1, 0, -1], [0, 0, 1])
    """
    limits = limits_of(how)
    manifest = manifest.reset_index(drop=True)
    named = manifest["class"] if "class" in manifest and manifest["class"].notna().any() else None
    label = (main_labels(manifest["label"]) if named is None else named).astype("string")
    classes = sorted(str(name) for name in label.dropna().unique())
    if not classes:
        raise DataError(
            "no film has a known class", where="manifest", next_step="Fill the column label, or name a task."
        )
    place = {name: number for number, name in enumerate(classes)}
    y: Ints = np.asarray(label.map(place).fillna(-1), np.int64)
    looked = {"sha256", "phash"} <= set(manifest) and bool(manifest[["sha256", "phash"]].notna().any(axis=None))
    pairs = duplicates.find(manifest) if looked else None
    links = [chain(manifest["patient_id"])]
    if pairs is not None:
        links.append(links_of(pairs, manifest))
    groups: Ints = components(len(manifest), np.concatenate(links))
    return Films(manifest, classes, y, groups, pairs, limits, how)


def drawn(films: Films) -> Ints:
    """Row numbers of at most `how.films` films of known class: of each source and class in turn, in a hashed order.

    The same films whatever the order of the rows.
    """
    order = drawn_order(films.manifest["image_id"].astype(str).tolist(), seed=films.how.seed, draw="audit")
    order = order[films.y[order] >= 0]
    cells = pd.DataFrame({"source": films.manifest["source"].astype(str).to_numpy()[order], "y": films.y[order]})
    turn = cells.groupby(["source", "y"]).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn, kind="stable")[: films.how.films]])
