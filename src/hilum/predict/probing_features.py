"""What can be learned from films with their lungs, or all but their lungs, covered: on features of a frozen network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hilum.audit.films import Films
from hilum.audit.shortcuts import told_by
from hilum.audit.told import FEW_PATIENTS, Told, tell
from hilum.audit.verdict import Check, not_done, verdict_of
from hilum.errors import HilumError
from hilum.evaluation.metrics import Floats, Ints
from hilum.evaluation.paired import unpaired_interval
from hilum.explain.explainer import Explainer
from hilum.explain.features import without_head
from hilum.model import classifier as classifiers
from hilum.model.engine import Engine
from hilum.predict.altered import Altered
from hilum.recipe.schema import Head, Model

# Of what features are made: the film, and what is done to it.
FEATURES = ("plain", "border-only", "lungs", "outside", "patches")


@dataclass(frozen=True)
class FrozenNetwork:
    """A network that gives features, and a note that says which it is."""

    engine: Engine
    note: str

    @classmethod
    def of(cls, explainer: Explainer) -> FrozenNetwork:
        """The run's backbone as it was before training; where that is not to be had, as it is now.

        The first has seen no film of the run. The second has learned from other films than those of the test part.
        """
        trained = explainer.network
        model = trained.run.recipe().model
        if model.weights != "none":
            plain = Model(backbone=model.backbone, weights=model.weights, head=Head())
            try:
                side_px = trained.preparation.side_px
                built = classifiers.build(plain, trained.classes, side_px=side_px, seed=0)
                device = next(trained.classifier.parameters()).device
                note = f"features of {model.backbone} as it was before this training"
                return cls(Engine(without_head(built.to(device))), note)
            except HilumError:
                pass
        return cls(Engine(without_head(trained.classifier)), f"features of the trained {model.backbone} itself")

    def features(self, films: Sequence[Altered]) -> list[dict[str, Floats]]:
        """For each film, name of `FEATURES` -> features (F,), where it applies."""
        squares = [
            (at, name, square)
            for at, film in enumerate(films)
            for name, square in {"plain": film.pixels, **film.squares}.items()
            if name in FEATURES
        ]
        made = self.engine(np.stack([square for _, _, square in squares])).astype(np.float64)
        found: list[dict[str, Floats]] = [{} for _ in films]
        for (at, name, _), row in zip(squares, made, strict=True):
            found[at][name] = row.reshape(-1)
        return found


def learnable(features: Mapping[str, Floats], films: Films, rows: Ints, note: str) -> list[Check]:
    """The checks of what is learnable, by logistic regression in five folds by patient (`audit.told`)."""
    without = "so a model can name the class without seeing a lung"
    again = "Cut films to the lungs (--set prepare.lungs=crop), train, and audit again."
    kinds = (
        ("learned-border", "border-only", "the outermost tenth of the film", without),
        ("learned-without-lungs", "lungs", "the film with both lungs covered", without),
        ("learned-from-patches", "patches", "the film in shuffled patches", "so it needs no anatomy to name the class"),
    )
    checks = [_told(name, films, features[kind], rows, by, so, again, note) for name, kind, by, so in kinds]
    return [
        *checks,
        _from_lungs(features, films, rows, note),
        _source(features["plain"], films, rows, note),
        _source_within(features["plain"], films, rows, note),
        _at_random(features["plain"], films, rows, note),
    ]


def _told(name: str, films: Films, features: Floats, rows: Ints, by: str, so: str, advice: str, note: str) -> Check:
    here = np.isfinite(features).all(1)
    return told_by(name, films, features[here], rows[here], by=by, so=so, advice=advice, details=(note,))


def _from_lungs(features: Mapping[str, Floats], films: Films, rows: Ints, note: str) -> Check:
    """What the class told best loses when all but the lungs is covered."""
    name = "learned-from-lungs"
    here = np.isfinite(features["outside"]).all(1)
    y, groups = films.y[rows[here]], films.groups[rows[here]]
    whole, lungs = (
        tell(features[kind][here], y, films.classes, groups, seed=films.how.seed) for kind in ("plain", "outside")
    )
    if whole is None or lungs is None:
        reason = f"fewer than two classes have {FEW_PATIENTS} patients whose lungs were found"
        return not_done(name, reason, films.limits, n=int(here.sum()))
    worst = max(whole.of_class, key=lambda label: whole.of_class[label] - lungs.of_class[label])
    value = whole.of_class[worst] - lungs.of_class[worst]
    low, high = unpaired_interval(_interval(lungs, worst), _interval(whole, worst))
    verdict = verdict_of(value, films.limits[name], beyond_chance=low > 0)
    return Check(
        name,
        verdict,
        f"From the lungs alone {worst} is told with AUROC {lungs.of_class[worst]:.3f}, from the whole film with "
        f"{whole.of_class[worst]:.3f}" + (": what is lost stood outside the lungs." if verdict != "pass" else "."),
        films.limits[name],
        advice="" if verdict == "pass" else "Take the figure of the lungs alone for what the disease gives.",
        value=value,
        low=low,
        high=high,
        n=int(here.sum()),
        patients=films.patients(_mask(films, rows[here])),
        details=(
            note,
            *(f"{label}: {lungs.of_class[label]:.3f} of {area:.3f}" for label, area in whole.of_class.items()),
        ),
    )


def _interval(told: Told, label: str) -> dict[str, float | None]:
    """The AUROC of a class with the interval of the one told best, moved to it."""
    area = told.of_class[label]
    return {"value": area, "low": area - (told.value - told.low), "high": min(1.0, area + (told.high - told.value))}


def _source(features: Floats, films: Films, rows: Ints, note: str) -> Check:
    name = "source-from-film"
    of_source = _as_classes(films, films.manifest["source"].astype("string").fillna("unknown").to_numpy(object))
    if len(of_source.classes) < 2:
        return not_done(name, "all films are of one source", films.limits, n=len(rows))
    return told_by(
        name,
        of_source,
        features,
        rows,
        by="the film",
        so="a model can learn the look of a hospital, which does harm where label and source go together",
        advice="See how far label and source go together, and test within one source.",
        details=(note,),
    )


def _source_within(features: Floats, films: Films, rows: Ints, note: str) -> Check:
    """How well the source is told among films of one class, of the class in which it is told best."""
    name = "source-within-class"
    sources = films.manifest["source"].astype("string").fillna("unknown").to_numpy(object)
    of_source = _as_classes(films, sources)
    tried: list[tuple[str, Told]] = []
    for k, label in enumerate(films.classes):
        of_class = films.y[rows] == k
        kept = rows[of_class]
        if of_class.any():
            told = tell(
                features[of_class], of_source.y[kept], of_source.classes, films.groups[kept], seed=films.how.seed
            )
            tried += [(label, told)] if told is not None else []
    if not tried:
        reason = f"no class has films of {FEW_PATIENTS} patients from two sources"
        return not_done(name, reason, films.limits, n=len(rows))
    label, told = max(tried, key=lambda each: each[1].value)
    beyond = told.p * len(tried) <= 0.05
    verdict = verdict_of(told.value, films.limits[name], beyond_chance=beyond)
    return Check(
        name,
        verdict,
        f"Among films of {label} alone, {told.best} is told from the other sources with AUROC {told.value:.3f}"
        + (": nothing of the disease is left that could tell, so it is the look of the place." if beyond else "."),
        films.limits[name],
        advice="" if verdict == "pass" else "Expect figures to fall on films of another place, and test there.",
        value=told.value,
        low=told.low,
        high=told.high,
        n=told.n,
        details=(note, *(f"{each}: AUROC {one.value:.3f}, n = {one.n} films" for each, one in tried)),
    )


def _at_random(features: Floats, films: Films, rows: Ints, note: str) -> Check:
    """The classes dealt to patients by dice: what is told then is chance, or a leak of patients between folds."""
    rng = np.random.default_rng([films.how.seed, 2])
    groups = np.unique(films.groups, return_inverse=True)[1]
    first = np.full(int(groups.max()) + 1, -1)
    first[groups[::-1]] = films.y[::-1]
    dealt = rng.permutation(first)[groups]
    return told_by(
        "random-labels",
        replace(films, y=np.asarray(dealt, np.int64)),
        features,
        rows,
        by="the film",
        so="labels dealt by dice cannot be in a film, so patients or copies stand on both sides of a fold",
        advice="Look for copies and for patients under two names.",
        details=(note,),
    )


def _as_classes(films: Films, names: NDArray[np.object_]) -> Films:
    """The same films with other classes."""
    classes = sorted({str(name) for name in names})
    place = {name: number for number, name in enumerate(classes)}
    return replace(films, classes=classes, y=np.array([place[str(name)] for name in names], np.int64))


def _mask(films: Films, rows: Ints) -> NDArray[np.bool_]:
    chosen = np.zeros(len(films.y), bool)
    chosen[rows] = True
    return chosen
