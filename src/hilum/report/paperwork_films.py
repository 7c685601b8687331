"""What a run knows of its films, in sentences.

Each function gives none where the run does not know: nothing is said that its files do not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from hilum.data.manifest import PARTS
from hilum.data.words import count_of, enumerated
from hilum.report.facts import Facts

Lines = Sequence[str]


def _sources(facts: Facts) -> Lines:
    films = facts.manifest
    counts = films["source"].value_counts()
    patients = films.groupby("source", observed=True)["patient_id"].nunique()
    return [
        f"{source}: {count_of(int(n), 'film')}"
        + (f" of {count_of(int(patients[source]), 'known patient')}." if patients[source] else ", patients unknown.")
        for source, n in zip(counts.index.astype(str), counts, strict=True)
    ]


def _sources_by_class(facts: Facts) -> Lines:
    table = pd.crosstab(facts.manifest["class"], facts.manifest["source"])
    return [
        f"{name}: " + ", ".join(f"{n} from {source}" for source, n in table.loc[name].items() if n) + "."
        for name in facts.classes
        if name in table.index
    ]


def _counts(facts: Facts) -> Lines:
    films = facts.manifest
    column, names = ("fold", range(len(facts.folds))) if facts.folds else ("part", PARTS)
    lines = []
    for name in names:
        rows = films[films[column] == name]
        if len(rows):
            classes = ", ".join(f"{n} {class_}" for class_, n in rows["class"].value_counts().items())
            patients = rows["patient_id"].nunique()
            who = f" of {count_of(patients, 'known patient')}" if patients else ""
            title = f"Fold {name}" if facts.folds else str(name).capitalize()
            lines.append(f"{title}: {count_of(len(rows), 'film')}{who} ({classes}).")
    return lines


def _flow(facts: Facts) -> Lines:
    return [*_left_out(facts), *_counts(facts)]


def _left_out(facts: Facts) -> Lines:
    noted = facts.environment.get("left_out")
    if noted is None:
        return []
    each = [f"{reason}: {n}" for reason, n in noted.items()] if isinstance(noted, Mapping) else list(map(str, noted))
    return [f"Left out: {'; '.join(each)}." if each else "No film that was read was left out."]


def _selection(facts: Facts) -> Lines:
    data = facts.recipe.data
    lines = [f"The films of the task “{data.task}”: labels that it does not map to a class are left out."]
    lines += [f"Only films for which {data.where} holds."] if data.where else []
    lines += [f"Labels left out: {enumerated(data.drop)}."] if data.drop else []
    lines += [f"At most {data.per_class} films of each class were drawn."] if data.per_class else []
    if data.draw:
        lines.append(f"Drawn: {', '.join(f'{n} of {name}' for name, n in data.draw.items())}.")
    return lines


def _missing(facts: Facts) -> Lines:
    films = facts.manifest
    fields = {"patient": "patient_id", "view": "view", "sex": "sex", "age": "age_years"}
    each = ", ".join(f"{word} of {int(films[column].notna().sum())}" for word, column in fields.items())
    return [
        f"Of {count_of(len(films), 'film')}, known are the {each}. The model sees the film alone, so what is missing "
        "is left missing: nothing was imputed, and a film without a known patient counts as a patient of its own."
    ]


def _people(facts: Facts) -> Lines:
    return [_described(facts.manifest)]


def _people_by_class(facts: Facts) -> Lines:
    films = facts.manifest
    return [f"{name}: {text}" for name in facts.classes if (text := _described(films[films["class"] == name]))]


def _people_by_part(facts: Facts) -> Lines:
    films = facts.manifest
    return [f"{name.capitalize()}: {text}" for name in PARTS if (text := _described(films[films["part"] == name]))]


def _described(films: pd.DataFrame) -> str:
    """Age, sex and view of films as far as they are known, or "" where none is."""
    told = []
    ages = films["age_years"].dropna().astype(float)
    if len(ages):
        low, middle, high = ages.quantile([0.25, 0.5, 0.75])
        told.append(f"median age {middle:.0f} years (quartiles {low:.0f} to {high:.0f}; known of {len(ages)})")
    for column in ("sex", "view"):
        counts = films[column].dropna().value_counts()
        if len(counts):
            told.append(f"{column} " + ", ".join(f"{value} {n}" for value, n in counts.items()))
    return f"{'; '.join(told)}; of {count_of(len(films), 'film')}." if told else ""


def _views(facts: Facts) -> Lines:
    counts = facts.manifest["view"].dropna().value_counts()
    if not len(counts):
        return []
    return [f"Views, where known: {', '.join(f'{view} {n}' for view, n in counts.items())}."]


def _film_kinds(facts: Facts) -> Lines:
    films, lines = facts.manifest, []
    for column, word in (("format", "Files"), ("mode", "Pixels")):
        counts = films[column].dropna().value_counts()
        if len(counts):
            lines.append(f"{word}: {', '.join(f'{value} {n}' for value, n in counts.items())}.")
    if films["width"].notna().any():
        width, height = (films[side].dropna().astype(float).median() for side in ("width", "height"))
        lines.append(f"Median size as read: {width:.0f} x {height:.0f} pixels.")
    return lines


def _predictors(facts: Facts) -> Lines:
    return ["The pixels of one chest radiograph as prepared, and nothing else; none of them was chosen by hand."] * (
        facts.recipe is not None
    )


def _no_reader(facts: Facts) -> Lines:
    return ["Nobody judges the predictors: they are pixels."] * (facts.recipe is not None)


KNOWN: Mapping[str, Callable[[Facts], Lines]] = {
    "sources": _sources,
    "sources_by_class": _sources_by_class,
    "counts": _counts,
    "flow": _flow,
    "left_out": _left_out,
    "selection": _selection,
    "missing": _missing,
    "people": _people,
    "people_by_class": _people_by_class,
    "people_by_part": _people_by_part,
    "views": _views,
    "film_kinds": _film_kinds,
    "predictors": _predictors,
    "no_reader": _no_reader,
}
