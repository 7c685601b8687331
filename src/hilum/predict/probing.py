"""The audit of a network: what it says when something of a film is covered or taken otherwise, and where it looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.audit.films import Films, drawn, films_of
from hilum.audit.limits import Limit
from hilum.audit.verdict import Check, not_done, verdict_of, worst_first
from hilum.data.words import count_of, enumerated
from hilum.errors import FilmError, RequestError
from hilum.evaluation.intervals import bootstrap_weights, bounded_interval
from hilum.evaluation.metrics import Bools, Floats, auroc
from hilum.evaluation.shares import share_of
from hilum.explain.explainer import Explainer
from hilum.explain.judge import mass_inside
from hilum.explain.maps import maps
from hilum.image.workers import map_films
from hilum.model.inference import BATCH
from hilum.predict.altered import CONTRAST, COVERED, JPEG_QUALITY, NOISE, ROTATION_DEG, SHIFT, STEADY, Altered, altered
from hilum.predict.probing_features import FEATURES, FrozenNetwork, learnable
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Audit

FILMS = 600  # most films of the test part that are asked of, drawn from each source and class alike
FEW = 10  # patients
_RESAMPLES = 500
_VARIANTS = (*(name for name in COVERED), *(name for names in STEADY.values() for name in names))
_COVERED = {
    "outside": (
        "When everything outside the lungs is covered",
        "It names films by what is no lung: crop to the lungs.",
    ),
    "border": ("When the outermost tenth of the film is covered", "It reads the border: crop to the lungs."),
    "corners": ("When the corners of the film are covered", "It reads the corners: crop to the lungs."),
    "text": ("When letters and markers are painted over", "It reads letters: paint them over before training."),
}
_OTHERWISE = {
    "rotation": f"Turned by {ROTATION_DEG:g} degrees to either side",
    "shift": f"Moved by {100 * SHIFT:g} % of the film either way",
    "contrast": f"With {100 * CONTRAST:g} % less and more contrast",
    "noise": f"With noise of {NOISE:g} grey levels of 255",
    "jpeg": f"Kept as JPEG of quality {JPEG_QUALITY}",
}


@dataclass(frozen=True)
class Answers:
    """Of M films: their rows, and what the network said of them as they are and altered.

    p (M, K), in the order of `classes`, of which the first are those of the films; altered: name -> (M, K), NaN rows
    where it does not apply; features: name -> (M, F) of the frozen network, NaN rows likewise. inside, area (M,): share
    of the map's mass inside the lungs, and of the square that they take; NaN where no lungs were believed. no_map: why
    there is none. errors: films that could not be read.
    """

    rows: NDArray[np.int64]
    classes: list[str]
    p: Floats
    altered: Mapping[str, Floats]
    features: Mapping[str, Floats]
    inside: Floats
    area: Floats
    no_map: str
    errors: int


def audit_model(
    run: Path | str, how: Audit | None = None, *, workers: int | None = None, progress: Progress = SILENT
) -> list[Check]:
    """The checks of a run's network on at most `FILMS` films of its test part, the worst first. Minutes on two cores.

    Refused with RequestError: a folder that is no run; a cross-validation or an ensemble (name one of its runs); limits
    that make no sense. With WeightsError: broken weights. With DataError: a run without labelled test films.
    """
    explainer = Explainer(run)
    how = how or Audit()
    manifest = explainer.network.run.manifest()
    films = films_of(manifest[manifest["part"] == "test"], how)
    rows = drawn(replace(films, how=how.model_copy(update={"films": min(how.films, FILMS)})))
    frozen = FrozenNetwork.of(explainer)
    found = ask(explainer, frozen, films, rows, workers=workers, progress=progress)
    if not len(found.rows):
        names = [f"blanked-{name}" for name in COVERED] + [f"steady-{name}" for name in STEADY]
        return [not_done(name, "no film's file can be read", films.limits, n=len(rows)) for name in names]
    with progress.task("learning from frozen features", 1) as advance:
        learned = learnable(found.features, films, found.rows, frozen.note)
        advance(1)
    return worst_first([*_covered(found, films), *_steady(found, films), _looks(found, films), *learned])


def ask(
    explainer: Explainer,
    frozen: FrozenNetwork,
    films: Films,
    rows: NDArray[np.int64],
    *,
    workers: int | None,
    progress: Progress,
) -> Answers:
    """Ask the networks of the films in `rows`; those that cannot be read are counted and left out."""
    paths = [Path(path) for path in films.manifest["path"].iloc[rows]]
    names = [*films.classes, *(name for name in explainer.classes if name not in films.classes)]
    order = [explainer.classes.index(name) for name in names]
    found: dict[int, tuple[dict[str, Floats], dict[str, Floats], float, float]] = {}
    errors, no_map = 0, ""
    with progress.task("asking the network of altered films", len(paths)) as advance:
        for batch in _batches(map_films(partial(altered, how=explainer.network.preparation), paths, workers=workers)):
            read = [(index, film) for index, film in batch if isinstance(film, Altered)]
            errors += len(batch) - len(read)
            if read:
                said = _said(explainer, [film for _, film in read], order)
                seen = frozen.features([film for _, film in read])
                looked, no_map = _looked(explainer, [film for _, film in read], no_map)
                for place, (index, film) in enumerate(read):
                    area = math.nan if film.doubt else float(film.lungs.mean())
                    found[index] = said[place], seen[place], looked[place], area
            advance(len(batch))
    done = sorted(found)
    classes = len(names)
    width = next((len(found[index][1]["plain"]) for index in done), 0)
    return Answers(
        rows[done],
        names,
        _stacked([found[index][0] for index in done], "plain", classes),
        {name: _stacked([found[index][0] for index in done], name, classes) for name in _VARIANTS},
        {name: _stacked([found[index][1] for index in done], name, width) for name in FEATURES},
        np.array([found[index][2] for index in done]),
        np.array([found[index][3] for index in done]),
        no_map,
        errors,
    )


def _batches(
    found: Iterator[tuple[int, Altered | FilmError]],
) -> Iterator[list[tuple[int, Altered | FilmError]]]:
    batch: list[tuple[int, Altered | FilmError]] = []
    for each in found:
        batch.append(each)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _said(explainer: Explainer, films: Sequence[Altered], order: list[int]) -> list[dict[str, Floats]]:
    """For each film, name -> probabilities (K,), "plain" among them."""
    squares = [(at, "plain", film.pixels) for at, film in enumerate(films)]
    squares += [
        (at, name, square)
        for at, film in enumerate(films)
        for name, square in film.squares.items()
        if name in _VARIANTS
    ]
    p = explainer.probabilities(np.stack([square for _, _, square in squares]))[:, order]
    said: list[dict[str, Floats]] = [{} for _ in films]
    for (at, name, _), row in zip(squares, p, strict=True):
        said[at][name] = row
    return said


def _looked(explainer: Explainer, films: Sequence[Altered], no_map: str) -> tuple[list[float], str]:
    """Share of each film's Grad-CAM, of the class called, inside its lungs; and why there are no maps."""
    shares = [math.nan] * len(films)
    if no_map:
        return shares, no_map
    try:
        made = maps(explainer.network.classifier, np.stack([film.pixels for film in films]), None, "grad-cam")
    except RequestError as error:
        return shares, error.what
    for at, film in enumerate(films):
        if not film.doubt:
            shares[at] = mass_inside(made.values[at], film.lungs)
    return shares, ""


def _stacked(rows: list[dict[str, Floats]], name: str, width: int) -> Floats:
    nothing = np.full(width, np.nan)
    return np.stack([row.get(name, nothing) for row in rows]) if rows else np.zeros((0, width))


def _covered(found: Answers, films: Films) -> list[Check]:
    return [
        _without_lungs(found, films),
        *(_flips(f"blanked-{name}", [name], found, films, *told) for name, told in _COVERED.items()),
    ]


def _steady(found: Answers, films: Films) -> list[Check]:
    advice = "Train with such changes ([augment]), or ask of several variants and take the mean."
    return [
        _flips(f"steady-{name}", variants, found, films, _OTHERWISE[name], advice) for name, variants in STEADY.items()
    ]


def _flips(name: str, variants: Sequence[str], found: Answers, films: Films, when: str, advice: str) -> Check:
    """The share of films that change class under any of the variants."""
    limit = films.limits[name]
    asked = np.isfinite(np.stack([found.altered[each] for each in variants])).all(axis=(0, 2))
    if not asked.any():
        return not_done(name, _why_not(name), films.limits, n=len(found.rows))
    called = found.p.argmax(1)
    changed = np.logical_or.reduce([found.altered[each].argmax(1) != called for each in variants])
    share = share_of(changed[asked], films.groups[found.rows[asked]], seed=films.how.seed)
    verdict = verdict_of(share.value, limit)
    return Check(
        name,
        verdict,
        f"{when}, the model names {share.text} of the films otherwise than before.",
        limit,
        advice="" if verdict == "pass" else advice,
        value=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        patients=_patients(films, found.rows[asked]),
        details=(*_counted(found, films), *_moves(called, changed & asked, found, variants)),
    )


def _why_not(name: str) -> str:
    return {
        "blanked-outside": "lungs were found on no film",
        "blanked-text": "no film has a white letter or marker near its edges",
        "blanked-border": "the network sees no border: films are cut to their lungs before",
        "blanked-corners": "the network sees no corner: films are cut to their lungs before",
    }.get(name, "nothing of any film could be altered")


def _moves(called: NDArray[np.int64], changed: Bools, found: Answers, variants: Sequence[str]) -> list[str]:
    """From which class to which, the commonest first."""
    counts: dict[tuple[str, str], int] = {}
    for row in np.flatnonzero(changed):
        after = [int(found.altered[each][row].argmax()) for each in variants]
        new = next(each for each in after if each != called[row])
        pair = found.classes[called[row]], found.classes[new]
        counts[pair] = counts.get(pair, 0) + 1
    told = sorted(counts.items(), key=lambda each: -each[1])[:4]
    return [", ".join(f"{count} from {old} to {new}" for (old, new), count in told)] if told else []


def _without_lungs(found: Answers, films: Films) -> Check:
    """How well the network tells the classes when both lungs are covered."""
    name = "blanked-lungs"
    limit = films.limits[name]
    asked = np.isfinite(found.altered["lungs"]).all(1)
    y = films.y[found.rows]
    tried = {
        label: auroc_by_patient(
            y[asked] == k, found.altered["lungs"][asked, k], films.groups[found.rows[asked]], films.how.seed
        )
        for k, label in enumerate(films.classes)
    }
    known = {label: each for label, each in tried.items() if each is not None}
    if not known:
        reason = "lungs were found on too few films of two classes" if asked.any() else "lungs were found on no film"
        return not_done(name, reason, films.limits, n=int(asked.sum()))
    worst = max(known, key=lambda label: known[label][0])
    value, low, high = known[worst]
    k = films.classes.index(worst)
    before = float(auroc(y[asked] == k, found.p[asked, k]))
    verdict = verdict_of(value, limit, beyond_chance=low > 0.5)
    called = found.altered["lungs"][asked].argmax(1)
    most = int(np.bincount(called).argmax())
    return Check(
        name,
        verdict,
        f"With both lungs covered the model still tells {worst} from the rest with AUROC {value:.3f}; "
        f"with the lungs it is {before:.3f}" + (": it does not need them." if verdict != "pass" else "."),
        limit,
        advice=""
        if verdict == "pass"
        else "Do not take its answers for a finding in the lung. Cut films to the lungs (--set prepare.lungs=crop), "
        "train again, and test on a source that has several classes.",
        value=value,
        low=low,
        high=high,
        n=int(asked.sum()),
        patients=_patients(films, found.rows[asked]),
        details=(
            *_counted(found, films),
            *(f"{label}: AUROC {one[0]:.3f} [{one[1]:.3f}, {one[2]:.3f}]" for label, one in known.items()),
            f"without lungs it calls {100 * float((called == most).mean()):.0f} % of the films {found.classes[most]}",
        ),
    )


def auroc_by_patient(
    positive: Bools, score: Floats, patients: NDArray[np.int64], seed: int
) -> tuple[float, float, float] | None:
    """AUROC and its 95 % interval by patient; None where either side has fewer than `FEW` of them."""
    fewer = min(len(np.unique(patients[positive == side])) for side in (True, False))
    if fewer < FEW:
        return None
    numbers = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    value = float(auroc(positive, score))
    blocks = bootstrap_weights(numbers, positive.astype(np.int64), _RESAMPLES, seed)
    replicates = np.concatenate([auroc(positive, score, block) for block in blocks])
    return value, *bounded_interval(value, replicates, films=math.inf, patients=fewer)


def _looks(found: Answers, films: Films) -> Check:
    """How much more of the map's mass lies inside the lungs than an even map would have there."""
    name = "map-in-lungs"
    limit: Limit = films.limits[name]
    known = np.isfinite(found.inside) & np.isfinite(found.area)
    patients = films.groups[found.rows[known]]
    if len(np.unique(patients)) < FEW:
        reason = found.no_map or f"{count_of(int(known.sum()), 'film')} have a map and believable lungs"
        return not_done(name, reason, films.limits, n=len(found.rows))
    gain = found.inside[known] - found.area[known]
    numbers = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    blocks = bootstrap_weights(numbers, np.zeros(len(gain), np.int64), _RESAMPLES, films.how.seed)
    replicates = np.concatenate([weights @ gain / weights.sum(1) for weights in blocks])
    value = float(gain.mean())
    low, high = bounded_interval(value, replicates, films=math.inf, patients=int(numbers.max()) + 1, bounds=(-1.0, 1.0))
    verdict = verdict_of(value, limit)
    inside, area = float(found.inside[known].mean()), float(found.area[known].mean())
    of_class = found.p[known].argmax(1)
    return Check(
        name,
        verdict,
        f"{100 * inside:.0f} % of what Grad-CAM marks lies in the lungs, which are {100 * area:.0f} % of the film"
        + (": the map looks at them no more than a blind one." if verdict != "pass" else "."),
        limit,
        advice="" if verdict == "pass" else "Look at the maps: hilum explain RUN. What lies outside is no finding.",
        value=value,
        low=low,
        high=high,
        n=int(known.sum()),
        patients=_patients(films, found.rows[known]),
        details=(
            *_counted(found, films),
            *(
                f"called {label}: {100 * found.inside[known][of_class == k].mean():.0f} % inside, lungs "
                f"{100 * found.area[known][of_class == k].mean():.0f} % of the film, {int((of_class == k).sum())} films"
                for k, label in enumerate(found.classes)
                if (of_class == k).any()
            ),
            "a map is no proof of what was used (Saporta et al. 2022, Nat. Mach. Intell. 4:867)",
        ),
    )


def _counted(found: Answers, films: Films) -> list[str]:
    """Which films were asked of, where they are not all."""
    every = int((films.y >= 0).sum())
    lines = []
    if len(found.rows) < every:
        classes = enumerated(
            [f"{label} {int((films.y[found.rows] == k).sum())}" for k, label in enumerate(films.classes)]
        )
        lines.append(
            f"{len(found.rows)} of {count_of(every, 'test film')} were asked of, drawn alike from each class: {classes}"
        )
    if found.errors:
        lines.append(f"{count_of(found.errors, 'film')} could not be read")
    return lines


def _patients(films: Films, rows: NDArray[np.int64]) -> int | None:
    chosen = np.zeros(len(films.y), bool)
    chosen[rows] = True
    return films.patients(chosen)
