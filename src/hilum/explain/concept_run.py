"""`hilum concepts`: from a run and a part to concepts.csv and concepts.html."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.data.words import count_of, enumerated
from hilum.errors import DataError, HilumError, RequestError
from hilum.explain.concepts import (
    CONCEPTS,
    CUTS,
    FEW_PATIENTS,
    Concept,
    Patches,
    Square,
    concepts,
    enlarged,
    hidden,
    log_odds,
    sample,
    squares,
)
from hilum.explain.features import kept, without_head
from hilum.explain.geometry import place_of
from hilum.explain.part import Trained, films_of_part, trained
from hilum.files import whole_file
from hilum.image.decode import decode
from hilum.image.prepare import lungs_of
from hilum.model.engine import Engine
from hilum.progress import SILENT, Progress
from hilum.report.comparison_tables import p_value
from hilum.report.concepts import FILMS, PATCHES, Patch, Said, Shown, write_page
from hilum.report.films import LONGER_SIDE_PX, Thumbnail, picture_of
from hilum.training.prepared import Films

FILMS_LOOKED_AT = 200
_TOGETHER = 8  # films whose patches are kept in one file
_PATCH_PX, _ORANGE = 128, np.array([230, 97, 0], np.float64)
Pixels = NDArray[np.uint8]
_FRACTIONS = {2: "half", 3: "third", 5: "fifth"}


@dataclass(frozen=True)
class Found:
    """concepts, the strongest first; table as in concepts.csv; page and csv: where they were written."""

    concepts: list[Concept]
    table: pd.DataFrame
    films: pd.DataFrame
    page: Path
    csv: Path


def explain_concepts(
    run: Path | str,
    out: Path | str | None = None,
    *,
    part: str = "test",
    films: int = FILMS_LOOKED_AT,
    count: int = CONCEPTS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Found:
    """Write concepts.csv and concepts.html of a part into `out`, by default the run's folder.

    films: how many are looked at, the classes alike; count: clusters. The same request gives the same files, and one
    that was stopped goes on. Refused as by `part.trained` and `films_of_part`; with RequestError too: fewer than 2
    clusters, or fewer films than `FEW_PATIENTS`; with DataError: films that are gone, or whose class is unknown.
    """
    if count < 2 or films < FEW_PATIENTS:
        raise RequestError(
            f"{count} concepts of {films} films cannot be told apart",
            next_step=f"Ask for at least 2 concepts (--concepts) of {FEW_PATIENTS} films (--films).",
        )
    network = trained(run)
    whole = films_of_part(network.run, part)
    chosen = sample(whole, films, network.classes, seed=seed)
    if len(chosen) < FEW_PATIENTS:
        raise DataError(
            f"{count_of(len(chosen), 'film')} of known class in the {part} part: too few to tell concepts from chance",
            where=str(network.run.path),
            next_step="Name a larger part with --part.",
        )
    prepared = network.prepared(chosen.assign(**{"class": chosen["label"]}), progress)
    cut = squares(network.preparation.side_px)
    patches = _patches(network, prepared, chosen["sha256"].astype(str).tolist(), cut, progress)
    found, rare = concepts(patches, chosen, cut, network.classes, count=count, seed=seed)
    if not found:
        raise DataError(
            f"no kind of patch is seen in {FEW_PATIENTS} patients",
            where=f"{network.run.path}, part {part}",
            next_step="Ask for fewer concepts (--concepts), or more films (--films).",
        )
    inside = _inside_lungs(prepared, patches, cut, progress)
    folder = Path(out) if out is not None else network.run.path
    table = _table(found, inside, chosen, cut, patches)
    with whole_file(folder / "concepts.csv") as file:
        table.to_csv(file, index=False)
    ghost = np.mean([batch.mean(axis=0) for batch in prepared.batches(size=1)], axis=0)
    with progress.task("drawing concepts", len(found)) as advance:
        shown = []
        for number, concept in enumerate(found, 1):
            shown.append(_shown(number, concept, network, chosen, patches, cut, inside, ghost))
            advance(1)
    about = {
        "run": network.run.path.resolve().name,
        "part": part,
        "films": len(chosen),
        "of": len(whole),
        "patches": len(patches.film),
        "squares": len(cut),
        "cuts": enumerated([f"a {_FRACTIONS[each]}" for each in CUTS]),
        "count": count,
        "seed": seed,
        "rare": rare,
        "few": FEW_PATIENTS,
        "tests": len(found) * len(network.classes),
        "patients_known": bool(chosen["patient_id"].notna().all()),
    }
    write_page(shown, folder / "concepts.html", classes=network.classes, about=about)
    return Found(found, table, chosen, folder / "concepts.html", folder / "concepts.csv")


def _patches(network: Trained, films: Films, shas: Sequence[str], cut: Sequence[Square], progress: Progress) -> Patches:
    """Every square of every film through the network, enlarged; and every film with each square hidden."""
    by_feature, by_logit = Engine(without_head(network.classifier)), Engine(network.classifier)
    features, lost = [], []
    with progress.task("patches through the network", 2 * len(films) * len(cut)) as advance:
        for start in range(0, len(films), _TOGETHER):
            rows, named = films.rows[start : start + _TOGETHER], shas[start : start + _TOGETHER]
            pixels = films.cache.read(rows)

            of_features = kept(network, ["patches", list(CUTS), *named], by_feature, _changed(enlarged, pixels, cut))
            advance(len(rows) * len(cut))
            z = kept(network, ["hidden", list(CUTS), *named], by_logit, _changed(hidden, pixels, cut))
            advance(len(rows) * len(cut))
            odds = log_odds(z, network.temperature).reshape(len(rows), 1 + len(cut), -1)
            features.append(of_features)
            lost.append((odds[:, :1] - odds[:, 1:]).reshape(len(rows) * len(cut), -1))
    numbers = np.arange(len(films) * len(cut))
    return Patches(numbers // len(cut), numbers % len(cut), np.concatenate(features), np.concatenate(lost))


def _changed(
    change: Callable[[Pixels, Sequence[Square]], Pixels], films: Pixels, cut: Sequence[Square]
) -> Iterator[Pixels]:
    return (change(film, cut) for film in films)


def _inside_lungs(films: Films, patches: Patches, cut: Sequence[Square], progress: Progress) -> NDArray[np.float64]:
    """Share of each patch that lies in the lungs (P,); NaN on a film without believable lungs."""
    shares = np.full((len(films), len(cut)), np.nan)
    with progress.task("finding lungs", len(films)) as advance:
        for number, batch in enumerate(films.batches(size=1)):
            lungs = lungs_of(batch[0])
            if not lungs.doubt:
                mask = lungs.mask(*batch[0].shape)
                shares[number] = [mask[each.top : each.bottom, each.left : each.right].mean() for each in cut]
            advance(1)
    return shares.ravel()


def _table(
    found: Sequence[Concept],
    inside: NDArray[np.float64],
    films: pd.DataFrame,
    cut: Sequence[Square],
    patches: Patches,
) -> pd.DataFrame:
    """A row per concept and class."""
    rows = []
    for number, concept in enumerate(found, 1):
        labels = films["label"].iloc[concept.films]
        known = inside[concept.patches][np.isfinite(inside[concept.patches])]
        size = np.array([cut[each].cut for each in patches.square[concept.patches]])
        for name, effect in concept.effects.items():
            rows.append(
                {
                    "concept": number,
                    "class": name,
                    "speaks": effect.speaks,
                    "log_odds_lost": effect.lost,
                    "log_odds_lost_beyond_others": effect.beyond,
                    "low": effect.low,
                    "high": effect.high,
                    "p": effect.p,
                    "p_holm": effect.raised,
                    "patches": len(concept.patches),
                    "films": len(concept.films),
                    "patients": concept.patients,
                    "films_of_class": int((labels == name).sum()),
                    "inside_lungs": known.mean() if len(known) else math.nan,
                    **{f"patches_of_a_{_FRACTIONS[each]}": int((size == each).sum()) for each in CUTS},
                }
            )
    return pd.DataFrame(rows)


def _shown(
    number: int,
    concept: Concept,
    network: Trained,
    films: pd.DataFrame,
    patches: Patches,
    cut: Sequence[Square],
    inside: NDArray[np.float64],
    ghost: NDArray[np.float64],
) -> Shown:
    typical = concept.patches[np.unique(patches.film[concept.patches], return_index=True)[1]]
    typical = concept.patches[np.isin(concept.patches, typical)][:PATCHES]  # one of a film, the most typical first
    pictures = [
        _pictures(films.iloc[int(patches.film[each])], cut[int(patches.square[each])], network, whole=place < FILMS)
        for place, each in enumerate(typical)
    ]
    size = np.array([cut[each].cut for each in patches.square[concept.patches]])
    known = inside[concept.patches][np.isfinite(inside[concept.patches])]
    labels, all_labels = films["label"].iloc[concept.films], films["label"]
    return Shown(
        number=number,
        films=len(concept.films),
        patients=concept.patients,
        patches=len(concept.patches),
        sizes=enumerated(
            [f"{(size == each).sum()} of a {_FRACTIONS[each]} of the side" for each in CUTS if (size == each).any()]
        ),
        inside=f"{100 * known.mean():.0f} % of their area lies in the lungs." if len(known) else "",
        seen=[(name, int((labels == name).sum()), int((all_labels == name).sum())) for name in network.classes],
        said=[
            Said(name, effect.speaks, factor(effect.beyond, effect.low, effect.high), p_value(effect.raised))
            for name, effect in concept.effects.items()
        ],
        where=_where(concept.where, ghost),
        examples=[patch for patch, _ in pictures],
        on_films=[film for _, film in pictures if film is not None],
    )


def factor(beyond: float, low: float, high: float) -> str:
    """By what the odds are multiplied when log odds are lost, in words.

    >>> factor(math.log(2), math.log(1.25), math.log(4))
    '× 0.50 [0.25, 0.80]'
    """
    if not math.isfinite(beyond):
        return "not known"
    return f"× {_number(-beyond)} [{_number(-high)}, {_number(-low)}]"


def _number(log: float) -> str:
    value = math.exp(min(log, 700.0))
    return f"{value:.2f}" if value < 10 else f"{value:.0f}" if value < 1e4 else f"{value:.0e}"


def _pictures(film: pd.Series, square: Square, network: Trained, *, whole: bool) -> tuple[Patch, Patch | None]:
    """The patch, cut from the film's own pixels; and, where asked for, the film with the patch's place."""
    image_id, label = str(film["image_id"]), str(film["label"])
    side = network.preparation.side_px
    try:
        pixels = decode(Path(str(film["path"])), at_least_px=2 * side).pixels
    except (HilumError, OSError) as error:
        gone = Thumbnail("", _PATCH_PX, _PATCH_PX, str(error))
        return Patch(gone, image_id, label), Patch(gone, image_id, label, (0, 0, 0, 0)) if whole else None
    place = place_of(pixels, network.preparation)
    top, bottom = (_on_film(place.film[0], place.square[0], each) for each in (square.top, square.bottom))
    left, right = (_on_film(place.film[1], place.square[1], each) for each in (square.left, square.right))
    height, width = pixels.shape
    part = pixels[int(top) : max(int(top) + 1, round(bottom)), int(left) : max(int(left) + 1, round(right))]
    patch = Patch(picture_of(part, _PATCH_PX), image_id, label)
    if not whole:
        return patch, None
    box = (100 * left / width, 100 * top / height, 100 * (right - left) / width, 100 * (bottom - top) / height)
    return patch, Patch(picture_of(pixels, LONGER_SIDE_PX), image_id, label, box)


def _on_film(film: slice, square: slice, at: float) -> float:
    """Where a row or column of the network's square lies on the film; what is padding falls on its edge."""
    share = (at - square.start) / (square.stop - square.start)
    return float(film.start + min(1.0, max(0.0, share)) * (film.stop - film.start))


def _where(where: NDArray[np.float64], ghost: NDArray[np.float64]) -> Thumbnail:
    """The mean film, faint, under orange as strong as the share of films that have the concept there."""
    grey = np.repeat(60 + 0.6 * ghost[..., None], 3, axis=2)
    mixed = grey + where[..., None] * (_ORANGE - grey)
    small = cv2.resize(mixed, (_PATCH_PX, _PATCH_PX), interpolation=cv2.INTER_AREA)
    return picture_of(np.clip(small.round(), 0, 255).astype(np.uint8), _PATCH_PX)
