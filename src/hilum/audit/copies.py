"""Patients and films that stand where they must not: in two parts, in two sources, under two labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hilum.audit.films import Films
from hilum.audit.verdict import Check, not_done, verdict_of
from hilum.data.leaks import RANK, find_leaks
from hilum.data.overlaps import links_of, overlaps, repeats
from hilum.data.words import count_of, enumerated

_NAMED = 3
_APART = (
    "Divide them anew by patient, with --set split.scheme=patient, or leave such films out of training with "
    "--set split.leaks=drop."
)
_NOT_LOOKED = "the files were not looked into"
_HOW = {
    "exact": "in the same bytes",
    "near": "in another size, encoding or brightness",
    "cropped": "cropped",
    "mirrored": "mirrored",
}
_LOOK = "Let hilum read the files: hilum data build fills sha256 and phash."


def copies(films: Films) -> list[Check]:
    """All checks of this module."""
    return [
        patients_in_two_parts(films),
        films_in_two_parts(films),
        films_in_two_sources(films),
        films_of_two_labels(films),
    ]


def patients_in_two_parts(films: Films) -> Check:
    """Known patients of whom one film is for training and another for the test."""
    name = "patients-in-two-parts"
    parted = _parted(films)
    if parted is None:
        return _undivided(name, films)
    rows, part = parted
    if not films.manifest.loc[rows, "patient_id"].notna().any():
        return not_done(
            name,
            "no film tells its patient",
            films.limits,
            advice="Ask the source for patient ids; until then copies of films are all that can be found.",
            n=int(rows.sum()),
        )
    leaks = _leaks(films, rows, part)
    found = leaks[leaks["kind"] == "patient"]
    unknown = int(films.manifest.loc[rows, "patient_id"].isna().sum())
    known = f"; of {count_of(unknown, 'film')} the patient is unknown" if unknown else ""
    some = len(found)
    return _counted(
        name,
        films,
        some,
        n=int(rows.sum()),
        patients=films.patients(rows),
        meaning=f"{count_of(some, 'patient has', 'patients have')} films in two parts, so the test asks about people "
        f"whom the model has seen{known}."
        if some
        else f"No known patient stands in two parts{known}.",
        advice=_APART if some else "",
        details=tuple(_leak_line(leak) for leak in found.head(_NAMED).to_dict("records")),
    )


def films_in_two_parts(films: Films) -> Check:
    """Films of the higher part, test before validation, of which a copy stands in a lower one."""
    name = "films-in-two-parts"
    parted = _parted(films)
    if parted is None:
        return _undivided(name, films)
    if films.pairs is None:
        return not_done(name, _NOT_LOOKED, films.limits, advice=_LOOK)
    rows, part = parted
    leaks = _leaks(films, rows, part)
    found = leaks[leaks["kind"] != "patient"]
    asked_again: set[str] = set()
    for image_ids, parts in zip(found["image_ids"], found["parts"], strict=True):
        highest = max(RANK[one] for one in parts)
        asked_again.update(film for film, one in zip(image_ids, parts, strict=True) if RANK[one] == highest)
    some = len(asked_again)
    of = pd.Series(part[rows].to_numpy(), index=films.manifest.loc[rows, "image_id"])
    return _counted(
        name,
        films,
        some,
        n=int(rows.sum()),
        patients=films.patients(rows),
        meaning=f"{count_of(some, 'film')} of the test or validation part {'stands' if some == 1 else 'stand'} in "
        f"another part too ({_kinds_across(films, of)}), so the test asks for what was learned by heart."
        if some
        else "No film of one part was found in another, in the same bytes or as the same picture.",
        advice=_APART if some else "",
        details=tuple(_leak_line(leak) for leak in found.head(_NAMED).to_dict("records")),
    )


def films_in_two_sources(films: Films) -> Check:
    """Films of one source that are in another, as a share of the smaller source."""
    name = "films-in-two-sources"
    source = films.manifest["source"].astype(str)
    if source.nunique() < 2:
        return not_done(
            name,
            f"all films come from one source, {source.iloc[0]}",
            films.limits,
            advice="Audit it together with the collection that is to test it.",
            n=len(source),
        )
    if films.pairs is None:
        return not_done(name, _NOT_LOOKED, films.limits, advice=_LOOK)
    size = source.value_counts()
    shares = {}
    for one in overlaps(films.manifest, source, films.pairs):
        smaller, of_it = (one.a, one.films_a) if size[one.a] <= size[one.b] else (one.b, one.films_b)
        if of_it:
            shares[
                f"{of_it} of the {size[smaller]} films of {smaller} "
                f"{'is' if of_it == 1 else 'are'} in {one.b if smaller == one.a else one.a} too"
            ] = of_it / size[smaller]
    lines = sorted(shares, key=lambda line: -shares[line])
    value = max(shares.values(), default=0.0)
    between = _kinds_across(films, pd.Series(source.to_numpy(), index=films.manifest["image_id"]))
    return Check(
        name,
        verdict_of(value, films.limits[name]),
        f"{lines[0]}: neither source is an independent test of the other."
        if lines
        else "No film of one source was found in another.",
        films.limits[name],
        advice="Keep one copy of each, and never train on one of these sources and test on the other." if lines else "",
        value=value,
        n=len(source),
        patients=films.patients(),
        details=(*lines[1 : 1 + _NAMED], *([f"Pairs of a film of each: {between}"] if between else [])),
    )


def films_of_two_labels(films: Films) -> Check:
    """Pairs of one film that the sources label differently, of all pairs of one film."""
    name = "films-of-two-labels"
    if films.pairs is None:
        return not_done(name, _NOT_LOOKED, films.limits, advice=_LOOK)
    found = repeats(films.manifest, films.pairs)
    two, pairs = found.pairs_of_two_labels, len(films.pairs)
    label = films.manifest.set_index("image_id")["label"]
    return Check(
        name,
        verdict_of(two / pairs if pairs else 0.0, films.limits[name]),
        f"{count_of(two, 'pair')} of one film {'has' if two == 1 else 'have'} two different labels, "
        f"of {count_of(pairs, 'pair')} in all: one of the two is wrong."
        if two
        else f"No film stands there under two different labels ({count_of(pairs, 'pair')} of one film).",
        films.limits[name],
        advice="Leave both films of such a pair out, or ask the source which label is right." if two else "",
        value=two / pairs if pairs else 0.0,
        n=len(films.manifest),
        patients=films.patients(),
        details=tuple(f"{a} is {label[a]}, {b} is {label[b]}" for a, b in found.examples_of_two_labels[:_NAMED]),
    )


def _counted(
    name: str,
    films: Films,
    some: int,
    *,
    n: int,
    patients: int | None,
    meaning: str,
    advice: str,
    details: tuple[str, ...],
) -> Check:
    limit = films.limits[name]
    return Check(
        name, verdict_of(some, limit), meaning, limit, advice, float(some), n=n, patients=patients, details=details
    )


def _parted(films: Films) -> tuple[np.ndarray, pd.Series] | None:
    """Which films have a part, (N,) bool, and the part of each: the run's own, else the published one."""
    for column in ("part", "split"):
        if column in films.manifest and films.manifest[column].notna().any():
            part = films.manifest[column]
            return part.notna().to_numpy(), part
    return None


def _leaks(films: Films, rows: np.ndarray, part: pd.Series) -> pd.DataFrame:
    chosen = films.manifest[rows].assign(part=part[rows]).reset_index(drop=True)
    links = np.empty((0, 2), np.int64)
    if films.pairs is not None:
        names = set(chosen["image_id"])
        inside = films.pairs["image_id_a"].isin(names) & films.pairs["image_id_b"].isin(names)
        links = links_of(films.pairs[inside], chosen)
    return find_leaks(chosen, links=links)


def _undivided(name: str, films: Films) -> Check:
    return not_done(
        name,
        "the films are not divided into parts yet",
        films.limits,
        advice="Audit the run that was trained on them: hilum audit RUN.",
        n=len(films.manifest),
    )


def _kinds_across(films: Films, of: pd.Series) -> str:
    """How many pairs of one film lie between two parts, or two sources, and how the two differ; of: by image_id."""
    if films.pairs is None:
        return ""
    a, b = (films.pairs[name].map(of) for name in ("image_id_a", "image_id_b"))
    kinds = films.pairs.loc[a.notna() & b.notna() & (a != b), "kind"].value_counts()
    return enumerated([f"{count} {_HOW[str(kind)]}" for kind, count in kinds.items()]) if len(kinds) else ""


def _leak_line(leak: dict) -> str:
    shown = dict(zip(leak["parts"][::-1], leak["image_ids"][::-1], strict=True))
    who = f"patient {leak['patient_id']}: " if leak["kind"] == "patient" else f"{leak['kind']}: "
    return who + ", ".join(f"{film} ({part})" for part, film in shown.items())
