"""`hilum mistakes`: every misclassified film of a part with maps, probabilities, nearest training films, what is known.

Maps are Grad-CAM of the class that was called and of the true one, on one scale for all films, in logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.data.words import count_of
from hilum.errors import DataError, FilmError, HilumError
from hilum.evaluation.shares import share_of
from hilum.explain.explainer import Explainer, FilmMap
from hilum.explain.features import features_of_films
from hilum.explain.neighbours import Nearest, nearest
from hilum.explain.part import Trained, films_of_part
from hilum.files import whole_file
from hilum.image.decode import decode
from hilum.progress import SILENT, Progress
from hilum.report.films import LONGER_SIDE_PX, Thumbnail, misclassified, picture_of
from hilum.report.gallery import film_card, judged_card, rows_of
from hilum.report.mistakes import MOST_ON_PAGE, Looked, Mistake, Neighbour, write_page
from hilum.report.overlay import overlay
from hilum.report.palette import class_colours

NEIGHBOURS = 5
_METHOD = "grad-cam"
_KNOWN = ("image_id", "path", "patient_id", "source", "view", "sex", "age_years")


@dataclass(frozen=True)
class Found:
    """table: a row per misclassified film, as in mistakes.csv; films: of known class in the part."""

    table: pd.DataFrame
    films: int
    page: Path
    csv: Path
    sided: str

    @property
    def in_short(self) -> str:
        """In one line."""
        return f"{len(self.table)} of {count_of(self.films, 'film')} misclassified" + (
            f"; {self.sided}" if self.sided else ""
        )


def explain_mistakes(
    run: Path | str, out: Path | str | None = None, *, part: str = "test", progress: Progress = SILENT
) -> Found:
    """Write mistakes.csv and mistakes.html of a part into `out`, by default the run's folder.

    Features of the training films are kept in the cache, so a second part costs little. Refused as by `part.trained`
    and `films_of_part`; with DataError too: a part in which no film has a known class, a run without a train part,
    films that are gone.
    """
    explainer = Explainer(run)
    network = explainer.network
    whole = films_of_part(network.run, part)
    films = whole[whole["label"].notna()].reset_index(drop=True)
    if films.empty:
        raise DataError(
            f"no film of the {part} part has a known class, so nobody knows which are misclassified",
            where=str(network.run.path),
            next_step="Name another part with --part.",
        )
    manifest = network.run.manifest()
    train = manifest[manifest["part"] == "train"].reset_index(drop=True)
    if train.empty:
        raise DataError("the run has no train part to find neighbours in", where=str(network.run.path))
    wrong = misclassified(films)
    found = _neighbours(network, films, train, progress)
    table = _table(wrong, train, found, network.classes)
    folder = Path(out) if out is not None else network.run.path
    with whole_file(folder / "mistakes.csv") as file:
        table.to_csv(file, index=False)
    sided = _sided(wrong, train, found)
    shown = wrong.head(MOST_ON_PAGE)
    maps = _maps(explainer, shown, progress)
    top = max((float(each.heat.max()) for both in maps for each in both if isinstance(each, FilmMap)), default=0.0)
    many = len(manifest["source"].unique()) > 1
    colours = class_colours(network.classes)
    with progress.task("drawing films", len(shown)) as advance:
        mistakes = []
        for (index, _), row, both in zip(shown.iterrows(), rows_of(shown), maps, strict=True):
            at = int(index)  # type: ignore[call-overload]
            mistakes.append(
                Mistake(
                    card=judged_card(row, colours, network.classes, many),
                    maps=_looked(row, both, top),
                    neighbours=[
                        Neighbour(film_card(near, with_source=many), float(distance))
                        for near, distance in zip(rows_of(train.iloc[found.rows[at]]), found.distances[at], strict=True)
                    ],
                    farther=float((found.distances[:, 0] < found.distances[at, 0]).mean()),
                )
            )
            advance(1)
    about: dict[str, Any] = {
        "run": network.run.path.resolve().name,
        "sided": sided,
        "scale": f"{top:.1f}",
        "neighbours": NEIGHBOURS,
        "most": MOST_ON_PAGE,
    }
    page = folder / "mistakes.html"
    write_page(mistakes, films, page, classes=network.classes, about={**about, "part": part})
    return Found(table, len(films), page, folder / "mistakes.csv", sided)


def _neighbours(network: Trained, films: pd.DataFrame, train: pd.DataFrame, progress: Progress) -> Nearest:
    """Of every film of the part, so that it can be told whether the misclassified lie far from what was learned."""
    learned = network.prepared(train, progress)
    of_train = features_of_films(network, learned, _shas(train), "features of the training films", progress)
    asked = network.prepared(films.assign(**{"class": films["label"]}), progress)
    of_part = features_of_films(network, asked, _shas(films), "features of the part", progress)
    return nearest(of_part, of_train, NEIGHBOURS)


def _shas(films: pd.DataFrame) -> list[str]:
    return films["sha256"].astype(str).tolist()


def _maps(
    explainer: Explainer, wrong: pd.DataFrame, progress: Progress
) -> list[tuple[FilmMap | FilmError, FilmMap | FilmError]]:
    """Of each film the map of the class called, and of the true one."""
    rows = rows_of(wrong)
    found: dict[int, tuple[FilmMap | FilmError, FilmMap | FilmError]] = {}
    with progress.task("maps of misclassified films", len(rows)) as advance:
        paths = [Path(str(row["path"])) for row in rows]
        for index, film in explainer.look(paths, wrong["view"].fillna("").astype(str).tolist()):
            if isinstance(film, FilmError):
                found[index] = film, film
            else:
                called, true = (explainer.class_number(str(rows[index][key])) for key in ("predicted", "label"))
                found[index] = (
                    explainer.maps_of([film], _METHOD, called)[0],
                    explainer.maps_of([film], _METHOD, true)[0],
                )
            advance(1)
    return [found[index] for index in range(len(rows))]


def _looked(row: dict[str, Any], both: tuple[FilmMap | FilmError, FilmMap | FilmError], top: float) -> list[Looked]:
    return [
        Looked(str(row[key]), role, _picture(Path(str(row["path"])), each, top))
        for key, role, each in zip(("predicted", "label"), ("called", "true"), both, strict=True)
    ]


def _picture(path: Path, found: FilmMap | FilmError, top: float) -> Thumbnail:
    if isinstance(found, FilmError):
        return Thumbnail("", LONGER_SIDE_PX, LONGER_SIDE_PX, str(found))
    try:
        pixels = decode(path).pixels
    except (HilumError, OSError) as error:
        return Thumbnail("", LONGER_SIDE_PX, LONGER_SIDE_PX, str(error))
    lungs = found.seen.place.on_film(found.seen.lungs.astype(np.float32)) > 0.5
    return picture_of(overlay(pixels, found.on_film(), top or 1.0, lungs=lungs), LONGER_SIDE_PX)


def _table(wrong: pd.DataFrame, train: pd.DataFrame, found: Nearest, classes: tuple[str, ...]) -> pd.DataFrame:
    """A row per misclassified film, the most confident first."""
    columns = [name for name in _KNOWN if name in wrong]
    table = wrong[[*columns, "label", "predicted", "confidence", *(f"p_{name}" for name in classes)]].copy()
    rows = found.rows[wrong.index.to_numpy(np.int64)]
    distances = found.distances[wrong.index.to_numpy(np.int64)]
    for place in range(rows.shape[1]):
        near = train.iloc[rows[:, place]]
        table[f"near_{place + 1}"] = near["image_id"].to_numpy()
        table[f"near_{place + 1}_class"] = near["class"].to_numpy()
        table[f"near_{place + 1}_distance"] = distances[:, place]
    return table.reset_index(drop=True)


def _sided(wrong: pd.DataFrame, train: pd.DataFrame, found: Nearest) -> str:
    """How often most of the neighbours have the class that was called, in words; "" where nothing is wrong."""
    if wrong.empty:
        return ""
    near = train["class"].to_numpy(object)[found.rows[wrong.index.to_numpy(np.int64)]]
    called = (near == wrong["predicted"].to_numpy(object)[:, None]).mean(1) > 0.5
    true = (near == wrong["label"].to_numpy(object)[:, None]).mean(1) > 0.5
    patients: NDArray[np.int64] = pd.factorize(wrong["patient_id"].fillna(wrong["image_id"]))[0].astype(np.int64)
    share = share_of(called, patients)
    interval = "" if math.isnan(share.low) else f" [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    return (
        f"of {int(called.sum())} of {count_of(len(wrong), 'misclassified film')} ({100 * share.value:.0f} %{interval}) "
        f"most of the {found.rows.shape[1]} nearest training films have the class that was called; of "
        f"{int(true.sum())} most have the true one"
    )
