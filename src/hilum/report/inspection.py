"""The page of `hilum data inspect`: what films there are, in tables, figures and sample films, in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from hilum.data.inspection import Inspection
from hilum.data.summary import UNKNOWN, Range, main_labels
from hilum.data.words import count_of
from hilum.files import write_text
from hilum.report import figures, inspection_figures
from hilum.report.gallery import Card, film_card, sample_cards
from hilum.report.html import Picture, picture, templates
from hilum.report.palette import class_colours
from hilum.report.tables import Counts, counts

_LABELS_WITH_COLOUR = 5  # the others together have one colour more
_MOST_SOURCES = 6  # columns of the table of missing values
_MOST_PAIRS = 12
_OTHERS = "other labels"
_BY_LABEL = {
    "view": "Views",
    "modality": "Modalities",
    "sex": "Sexes",
    "split": "Published parts",
    "format": "File formats",
    "mode": "Colour modes",
    "finding": "Findings, as the sources write them",
}


@dataclass(frozen=True)
class Grid:
    """A table of cells that are text already; the first cell of a row is its name."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page. tables: (caption, counts); films: (heading, how many of how many, cards); pairs: (heading, 2
    cards).
    """

    name: str
    heading: str
    lines: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    tables: Sequence[tuple[str, Counts]] = ()
    pictures: Sequence[Picture] = ()
    films: Sequence[tuple[str, str, Sequence[Card]]] = ()
    pairs: Sequence[tuple[str, Sequence[Card]]] = ()


def write_inspection(
    found: Inspection, manifest: pd.DataFrame, path: Path, *, asked: Sequence[str], where: str = ""
) -> None:
    """Write the page, whole or not at all.

    found: of `hilum.data.inspection.inspect` on this manifest; asked, where: what was typed, for the page to say.
    Films are shown where their files can be read.
    """
    write_text(path, render(found, manifest, asked=asked, where=where))


def render(found: Inspection, manifest: pd.DataFrame, *, asked: Sequence[str], where: str = "") -> str:
    """The page's HTML."""
    manifest = manifest.assign(**{"class": manifest["label"].astype("string").fillna(UNKNOWN)})
    jinja = templates()
    section = jinja.get_template("inspection_section.html")
    colours = class_colours(_coloured(manifest))
    sections = [
        _labels(found),
        _sources(found, manifest),
        _repeats(found, manifest),
        _patients(found, manifest),
        _ages(manifest),
        _values(found, manifest),
        _files(found, manifest),
        _missing(found),
        _samples(found, manifest),
        _left_out(found),
    ]
    made = [(one, Markup(section.render(section=one, colours=colours))) for one in sections if one]
    return jinja.get_template("inspection.html").render(made=made, found=found, asked=asked, where=where)


def _labels(found: Inspection) -> Section:
    head = ("label", "films", "patients", "films of unknown patient", "F", "M", "age: median (range), n")
    rows = [
        (
            one.label,
            *map(str, (one.films, one.patients, one.films_without_patient, one.F, one.M)),
            _range(one.age_years),
        )
        for one in found.labels
    ]
    return Section("labels", "Labels", grids=[Grid("Films and patients by label", head, rows)])


def _sources(found: Inspection, manifest: pd.DataFrame) -> Section:
    one = found.label_and_source
    lines = []
    if one.cramers_v is not None:
        lines.append(
            f"{len(one.of_one_label)} of {count_of(one.sources, 'source')} have films of one label only. Cramer's V of "
            f"label and source is {one.cramers_v:.2f}: 0 is no relation, at 1 the source says the label. n = "
            f"{count_of(one.n, 'film')} of known label, which are all there are: no sample, so no interval."
        )
    labels = main_labels(manifest["label"])
    order = list(labels.value_counts().index)
    table = counts(manifest["source"], labels, corner="source", column_order=order, most_rows=40)
    head = ("a and b", "films of a", "films of b", "patients of a", "patients of b", "file names")
    rows = [
        (
            f"{both.a} and {both.b}",
            *map(str, (both.films_a, both.films_b, both.patients_a, both.patients_b, both.same_names)),
        )
        for both in found.overlaps
    ]
    if rows:
        lines.append(
            "Two collections overlap where a film of one is in the other, in the same bytes or as the same picture; a "
            "patient, where a film or the id is. A file name in both hints at a copy that was cropped or changed."
        )
    grids = [Grid("What two collections share", head, rows)] if rows else []
    return Section("sources", "Sources", lines, grids, [("Films by source and main label", table)])


def _repeats(found: Inspection, manifest: pd.DataFrame) -> Section:
    if found.duplicates is None:
        return Section("repeats", "Duplicates", ["Nobody looked into the files (--no-files)."])
    one = found.duplicates
    lines = [
        f"{one.pictures} different pictures in {count_of(found.films, 'film')}: "
        f"{count_of(one.exact_pairs, 'pair')} of the same bytes, {one.near_pairs} of the same picture in another size, "
        f"shape, brightness or encoding; {one.pairs_of_two_labels} of all these under two different labels."
    ]
    if found.split_leaks is not None:
        told = ", ".join(f"{kind} {count}" for kind, count in found.split_leaks.items()) or "none"
        lines.append(f"In two of the published parts: {told}.")
    films = manifest.set_index("image_id", drop=False)
    pairs = found.pairs_shown[:_MOST_PAIRS]
    shown = [
        (_of_pair(films, pair), [film_card(_row(films, image_id), with_source=True) for image_id in pair])
        for pair in pairs
    ]
    return Section("repeats", "Duplicates", lines, pairs=shown)


def _of_pair(films: pd.DataFrame, pair: tuple[str, str]) -> str:
    first, second = (str(films.loc[image_id, "class"]) for image_id in pair)
    if first != second:
        return f"{first}, and {second}"
    return "twice without a label" if first == UNKNOWN else f"twice {first}"


def _row(films: pd.DataFrame, image_id: str) -> Mapping[str, object]:
    return {str(name): value for name, value in films.loc[image_id].items()}


def _patients(found: Inspection, manifest: pd.DataFrame) -> Section:
    one = found.films_per_patient
    if one is None:
        return Section("patients", "Patients", ["No film tells its patient."])
    lines = [
        f"{count_of(found.patients, 'known patient')}; for {found.films_without_patient} of "
        f"{count_of(found.films, 'film')} the patient is unknown. The most films, {one.most}, are of "
        f"{one.patient_with_most}."
    ]
    if one.of_two_labels:
        lines.append(
            f"{count_of(one.of_two_labels, 'patient')} with films under two main labels, "
            f"as {one.example_of_two_labels}."
        )
    rows = [
        (label.label, str(label.patients), _range(label.films_per_patient, with_n=False))
        for label in found.labels
        if label.patients
    ]
    grid = Grid("Films of a patient, by label", ("label", "patients", "films each: median (range)"), rows)
    chart = picture(
        inspection_figures.films_per_patient(one.patients),
        "films-per-patient",
        f"Histogram of films per patient, {count_of(found.patients, 'patient')}",
        "Known patients by their number of films.",
    )
    return Section("patients", "Patients", lines, [grid], pictures=[chart])


def _ages(manifest: pd.DataFrame) -> Section | None:
    known = int(manifest["age_years"].notna().sum())
    if not known:
        return Section("ages", "Ages", ["No film tells an age."])
    labels = _few_labels(manifest)
    chart = picture(
        figures.age_histogram(manifest["age_years"], labels, _coloured(manifest)),
        "ages",
        f"Histogram of age by main label, {count_of(known, 'film')} of known age",
        f"Age by main label. Known for {known} of {count_of(len(manifest), 'film')}.",
    )
    return Section("ages", "Ages", pictures=[chart])


def _values(found: Inspection, manifest: pd.DataFrame) -> Section:
    labels = main_labels(manifest["label"])
    order = list(labels.value_counts().index)
    tables = [
        (heading, counts(manifest[name], labels, corner=name, column_order=order, most_rows=40))
        for name, heading in _BY_LABEL.items()
        if name in found.by_label
    ]
    unknown = [name for name in ("view", "modality", "sex") if name not in found.by_label]
    lines = [f"Not known of a single film: {', '.join(unknown)}."] if unknown else []
    return Section("values", "Views, modalities, findings", lines, tables=tables)


def _files(found: Inspection, manifest: pd.DataFrame) -> Section | None:
    if not found.sizes_px:
        return None
    sizes = manifest[manifest["width"].notna()]
    rows = []
    for source, films in sizes.groupby(sizes["source"].astype(str)):
        common = (films["width"].astype(str) + " x " + films["height"].astype(str)).value_counts()
        sides = [f"{int(films[side].min())} to {int(films[side].max())}" for side in ("width", "height")]
        rows.append((str(source), str(len(films)), *sides, f"{common.index[0]} ({common.iloc[0]})"))
    grid = Grid("Sizes by source, in pixels", ("source", "films", "width", "height", "commonest (films)"), rows)
    chart = picture(
        inspection_figures.size_scatter(sizes["width"], sizes["height"], _few_labels(sizes), _coloured(manifest)),
        "sizes",
        f"Width and height of {count_of(len(sizes), 'film')} by main label",
        "Width and height in pixels, a dot for each size and label, larger where more films have it.",
    )
    return Section("files", "Sizes", grids=[grid], pictures=[chart])


def _missing(found: Inspection) -> Section:
    table = found.by_label["source"]
    totals: dict[str, int] = {}
    for row in table.values():
        for source, films in row.items():
            totals[source] = totals.get(source, 0) + films
    sources = sorted(totals, key=lambda source: -totals[source])[:_MOST_SOURCES] if len(totals) > 1 else []
    rows = [
        (
            one.column,
            f"{one.missing}",
            _share(one.missing, one.of),
            *(_share(one.by_source.get(source, 0), totals[source]) for source in sources),
        )
        for one in found.missing
    ]
    grid = Grid("Missing values by column", ("column", "missing", "of all", *sources), rows)
    return Section("missing", "Missing values", grids=[grid])


def _samples(found: Inspection, manifest: pd.DataFrame) -> Section:
    cards = sample_cards(manifest, [one.label for one in found.labels], with_source=True)
    shown = [(name, f"{len(some)} of {n}", some) for name, n, some in cards]
    line = "Drawn by a hash of their names, the sources in turn; nobody chose them. Longer side at most 256 pixels."
    return Section("samples", "Sample films", [line], films=shown)


def _left_out(found: Inspection) -> Section | None:
    if not found.left_out:
        return None
    rows = [(what, str(count)) for what, count in found.left_out]
    return Section("left-out", "Left out", grids=[Grid("Not among these films", ("what", "count"), rows)])


def _coloured(manifest: pd.DataFrame) -> list[str]:
    """The commonest main labels, then what the others are together."""
    names = [str(name) for name in main_labels(manifest["label"]).value_counts().index]
    few = names[:_LABELS_WITH_COLOUR]
    return few if len(few) == len(names) else [*few, _OTHERS]


def _few_labels(manifest: pd.DataFrame) -> pd.Series:
    labels, names = main_labels(manifest["label"]), _coloured(manifest)
    return labels.where(labels.isin(names) | labels.isna(), _OTHERS)


def _share(n: int, of: int) -> str:
    """Rounded, but all only where it is all, and none where it is none.

    >>> _share(0, 9), _share(1, 999), _share(1, 3), _share(998, 999), _share(9, 9)
    ('0%', '<1%', '33%', '>99%', 'all')
    """
    if n in (0, of):
        return "all" if n else "0%"
    return "<1%" if n / of < 0.005 else ">99%" if n / of > 0.995 else f"{n / of:.0%}"


def _range(one: Range | None, *, with_n: bool = True) -> str:
    if one is None:
        return "unknown"
    return f"{one.median:.0f} ({one.min:.0f}-{one.max:.0f})" + (f", {one.n}" if with_n else "")
