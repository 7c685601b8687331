"""What there is in a manifest, and what to beware of: the answer of `hilum data inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from hilum.data import cautions, duplicates, summary
from hilum.data.cautions import Caution
from hilum.data.confounding import Association, association
from hilum.data.leaks import find_leaks
from hilum.data.overlaps import Overlap, Repeats, collections, links_of, overlaps, repeats
from hilum.data.readers.common import left_out
from hilum.data.summary import FilmsPerPatient, Missing, OfLabel, Range

_PAIRS = pd.DataFrame({"image_id_a": [], "image_id_b": [], "kind": [], "distance": []})


@dataclass(frozen=True)
class Inspection:
    """Counts and cautions, ready for JSON by `as_json`; what could not be known is None.

    by_label: column -> label -> value -> films. label_and_source: of main labels (pneumonia, not pneumonia/viral).
    split_leaks: patients and duplicates in two parts of the published split, by kind. pairs_shown: image ids of pairs
    of one picture, those of two labels first, then one of each two collections that share films.
    """

    cautions: list[Caution]
    films: int
    patients: int
    films_without_patient: int
    labels: list[OfLabel]
    by_label: dict[str, dict[str, dict[str, int]]]
    label_and_source: Association
    films_per_patient: FilmsPerPatient | None
    missing: list[Missing]
    sizes_px: dict[str, Range] | None
    duplicates: Repeats | None
    overlaps: list[Overlap]
    pairs_shown: list[tuple[str, str]]
    split_leaks: dict[str, int] | None
    left_out: list[tuple[str, int]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"left_out": [{"what": what, "count": count} for what, count in self.left_out]}


def inspect(manifest: pd.DataFrame, read_from: Mapping[str, str] | None = None) -> Inspection:
    """Look through a manifest.

    read_from: image_id -> the source as it was asked for, so that two copies of a collection can be told apart.
    Duplicates, overlaps by film and leaks are looked for where sha256 and phash are filled (`collect.with_facts`).

    >>> films = pd.DataFrame({"image_id": ["a/1", "b/1"], "path": ["1", "2"], "label": ["ill", "well"],
    ...                       "source": ["a", "b"], "patient_id": None, "view": None, "sex": None, "age_years": None})
    >>> inspect(films).cautions[0].what
    'Every ill film comes from a, and nothing else does'
    """
    manifest = manifest.reset_index(drop=True)
    looked = "sha256" in manifest and manifest["sha256"].notna().any()
    pairs = duplicates.find(manifest) if looked else _PAIRS
    collection = collections(manifest, read_from)
    shared = overlaps(manifest, collection, pairs)
    found = repeats(manifest, pairs) if looked else None
    leaks = _split_leaks(manifest, pairs) if looked else None
    patients = summary.films_per_patient(manifest)
    return Inspection(
        cautions=[
            *cautions.by_source(manifest),
            *cautions.by_repeats(found, shared, leaks),
            *cautions.by_column(manifest),
            *cautions.by_age_and_sex(manifest),
            *cautions.by_patient(manifest, patients),
            *cautions.by_kind_of_film(manifest),
            *cautions.by_label(manifest),
        ],
        films=len(manifest),
        patients=int(manifest["patient_id"].nunique()),
        films_without_patient=int(manifest["patient_id"].isna().sum()),
        labels=summary.of_labels(manifest),
        by_label=summary.by_label(manifest),
        label_and_source=association(manifest["source"], summary.main_labels(manifest["label"])),
        films_per_patient=patients,
        missing=summary.missing(manifest),
        sizes_px=summary.sizes(manifest),
        duplicates=found,
        overlaps=shared,
        pairs_shown=_shown(manifest, collection, pairs, found),
        split_leaks=leaks,
        left_out=left_out(manifest),
    )


def _split_leaks(manifest: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, int] | None:
    """None where no film has a published part."""
    if "split" not in manifest or manifest["split"].isna().all():
        return None
    published = manifest[manifest["split"].notna()].reset_index(drop=True)
    names = set(published["image_id"])
    inside = pairs[pairs["image_id_a"].isin(names) & pairs["image_id_b"].isin(names)]
    leaks = find_leaks(published.assign(part=published["split"]), links=links_of(inside, published))
    return {str(kind): int(count) for kind, count in leaks["kind"].value_counts().items()}


def _shown(
    manifest: pd.DataFrame, collection: pd.Series, pairs: pd.DataFrame, found: Repeats | None
) -> list[tuple[str, str]]:
    if found is None or pairs.empty:
        return []
    of = pd.Series(collection.to_numpy(), index=manifest["image_id"])
    named = pairs.assign(a=of.loc[pairs["image_id_a"]].to_numpy(), b=of.loc[pairs["image_id_b"]].to_numpy())
    # A near pair tells more than one of equal bytes, which needs no looking at.
    first = named.sort_values("kind", ascending=False, kind="stable").drop_duplicates(["a", "b"])
    each = [(str(a), str(b)) for a, b in zip(first["image_id_a"], first["image_id_b"], strict=True)]
    return list(dict.fromkeys([*found.examples_of_two_labels[:3], *each]))
