"""`hilum explain`: the maps of a run's films or of any files, judged, in a table, a summary and a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.errors import DataError, FilmError, RequestError
from hilum.explain import judge
from hilum.explain.at_random import DRAWS, survival
from hilum.explain.curves import curves
from hilum.explain.explainer import Explainer, FilmMap, Seen, in_batches
from hilum.explain.figures import figures_by_class
from hilum.explain.maps import METHODS, need_method
from hilum.explain.part import films_of_part
from hilum.explain.pictures import Kept, write_pictures
from hilum.files import whole_file, write_json
from hilum.image.decode import decode
from hilum.image.facts import reason
from hilum.progress import SILENT, Progress
from hilum.report.films import samples
from hilum.report.maps import FOLDER, read, write_page

COLUMNS = {
    "image_id": "the film",
    "path": "its file",
    "patient_id": "the patient, where known",
    "source": "where the film comes from",
    "label": "the class that is true, where known",
    "class": "the class that the map speaks for",
    "method": "how the map was made",
    "verdict": "inside: over half of the map's mass is inside the lungs; outside: it is not; lungs unknown; flat: "
    "nothing speaks for the class; refused: the method's maps outlive the loss of all that was learned",
    "inside_lungs": "share of the map's mass inside the lungs",
    "lungs_area": "share of the picture that is lung, which a map without aim would have inside",
    "pointing": "1: the map's highest place is on the finding, or next to it; 0: it is not; where the finding is known",
    "inside_finding": "share of the map's mass inside the finding, where it is known",
    "finding_area": "share of the picture that is the finding",
    "insertion": "area under the probability as cells are shown in the map's order; higher is better",
    "deletion": "area under the probability as cells are made grey in the map's order; lower is better",
    "random": "both areas for a random order",
    "peak": "the map's highest value, in the method's unit",
    "logit": "the network's logit of the class",
    "doubt": "why the lungs are not believed",
    "error": "why the film could not be explained",
    "picture": "the film in the gallery, below this folder",
    "overlay": "the map on it",
}
CHECKED = 12  # films whose maps are compared with those of random weights
CURVED = 60  # films with insertion and deletion, each of 29 forward passes
SHOWN = 36  # films in the gallery of a part
_TOP = 0.95  # the films' highest values up to this quantile fit the colour scale


@dataclass(frozen=True)
class Explained:
    """What came of it, and where it lies: explanations.csv (`COLUMNS` and p_<class>), explanations.json, maps.html."""

    path: Path
    table: pd.DataFrame
    summary: dict[str, Any]


def explain_part(
    run: Path | str,
    *,
    part: str = "",
    methods: Sequence[str] = (),
    class_: str | None = None,
    films: int | None = None,
    out: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Explained:
    """Explain films of a part, drawn from each class alike; what is not given is as the run's [explain] says.

    class_: for which class; by default, on each film, the one that is called. out: default RUN/explanations, which the
    report shows. The manifest's column finding_mask, if any, names each film's mask of the finding. Refused with
    RequestError: an unknown method, class or part, a part without films, what is no run of one network.
    """
    explainer = Explainer(run)
    folder = explainer.network.run
    asked = folder.recipe().explain
    part = part or asked.part
    rows = _own_films(explainer, part, films or asked.films)
    about = {"part": part, "films_of_part": int((folder.predictions()["part"] == part).sum())}
    named = list(methods) or list(asked.methods) or ["grad-cam"]
    where = out or folder.path / FOLDER
    return _explain(explainer, rows, named, class_, where, about, workers, progress)


def explain_films(
    run: Path | str,
    paths: Sequence[Path],
    *,
    methods: Sequence[str] = (),
    class_: str | None = None,
    out: Path,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Explained:
    """Explain any files; each map is written on the film's own pixels too, as out/overlays/NAME-METHOD.png.

    A file that cannot be read, or is no film of the chest, is a row with its error. Refused as in `explain_part`.
    """
    explainer = Explainer(run)
    rows = pd.DataFrame({"image_id": [str(path) for path in paths], "path": [str(path) for path in paths]})
    for name in ("patient_id", "source", "label", "view"):
        rows[name] = pd.Series(pd.NA, index=rows.index, dtype="string")
    named = list(methods) or list(explainer.network.run.recipe().explain.methods) or ["grad-cam"]
    return _explain(explainer, rows, named, class_, out, {"part": None}, workers, progress)


def _own_films(explainer: Explainer, part: str, films: int) -> pd.DataFrame:
    """About so many films of a part, of each class alike and the classes in turn, so that any first ones are of all."""
    rows = films_of_part(explainer.network.run, part)
    known = rows[rows["label"].notna()].assign(**{"class": lambda row: row["label"]})
    each = -(-films // max(1, known["label"].nunique()))
    drawn = pd.concat(list(samples(known, each).values()))
    return drawn.assign(_turn=drawn.groupby("class").cumcount()).sort_values("_turn", kind="stable")


def _explain(
    explainer: Explainer,
    rows: pd.DataFrame,
    methods: list[str],
    class_: str | None,
    out: Path,
    about: dict[str, Any],
    workers: int | None,
    progress: Progress,
) -> Explained:
    number = explainer.class_number(class_)
    methods = list(dict.fromkeys(methods))
    for method in methods:
        need_method(method)
    rows = rows.reset_index(drop=True)
    checks = _checks(explainer, methods, progress)
    lines: list[dict[str, Any]] = []
    kept: list[Kept] = []
    with progress.task("explaining films", len(rows)) as advance:
        paths = [Path(path) for path in rows["path"]]
        views = rows["view"].fillna("").tolist()
        for batch in in_batches(explainer.look(paths, views, workers=workers)):
            for method in methods:
                for film, made in _maps(explainer, batch, method, number):
                    check = checks[method]
                    refused = check is not None and check.survives
                    lines.append(_line(explainer, rows.iloc[film], film, method, made, refused=refused))
                    if isinstance(made, FilmMap) and film < SHOWN:
                        kept.append(Kept(film, method, made))
            advance(len(batch))
    # Single films share the scale of the run's films, where that is known, so that a weak map of one looks weak.
    known = {} if about["part"] else {method: _left_in_run(explainer, method).get("top") for method in methods}
    tops = {method: known.get(method) or _top(lines, method) for method in methods}
    places = write_pictures(kept, rows, tops, out, own_pixels=about["part"] is None)
    lines.sort(key=lambda line: (line.pop("_film"), methods.index(line["method"])))
    table = pd.DataFrame(lines)
    for name in ("picture", "overlay"):
        table[name] = [places.get((line["image_id"], line["method"]), {}).get(name) for line in lines]
    table = table[[*COLUMNS, *(f"p_{name}" for name in explainer.classes)]]
    summary = _summary(explainer, table, checks, tops, methods, {**about, "class": class_})
    with whole_file(out / "explanations.csv") as whole:
        table.to_csv(whole, index=False)
    write_json(out / "explanations.json", summary)
    write_page(out)
    return Explained(out, table, summary)


def _checks(explainer: Explainer, methods: list[str], progress: Progress) -> dict[str, judge.Likeness | None]:
    """How much each method's maps are like those of random weights, on the run's own films, whatever is explained.

    None where that cannot be known, because those films are gone.
    """
    run = explainer.network.run
    found: dict[str, judge.Likeness | None] = {name: _known_check(explainer, name) for name in methods}
    unknown = [name for name in methods if found[name] is None]
    if not unknown:
        return found
    paths = [Path(path) for path in _own_films(explainer, run.recipe().explain.part, CHECKED)["path"][:CHECKED]]
    films = [film for _, film in explainer.look(paths) if isinstance(film, Seen)]
    if not films:
        return found
    squares = np.stack([film.pixels for film in films])
    called = explainer.probabilities(squares).argmax(1)
    with progress.task("comparing maps with those of random weights", len(unknown)) as advance:
        for method in unknown:
            found[method] = survival(explainer.network.classifier, squares, called, method)
            advance(1)
    return found


def _left_in_run(explainer: Explainer, method: str) -> dict[str, Any]:
    """What an earlier call with the same weights says of a method; empty where there was none."""
    try:
        _, about = read(explainer.network.run.path / FOLDER)
        same = about["weights_sha256"] == explainer.network.sha256
        return dict(about["methods"][method]) if same else {}
    except (DataError, KeyError, TypeError):  # none yet, another version's, or broken: it is made anew
        return {}


def _known_check(explainer: Explainer, method: str) -> judge.Likeness | None:
    check = _left_in_run(explainer, method).get("check")
    if not check or check.get("draws") != DRAWS:
        return None
    return judge.Likeness(*(check[field.name] for field in fields(judge.Likeness)))


def _maps(
    explainer: Explainer, batch: list[tuple[int, Seen | FilmError]], method: str, class_: int | None
) -> list[tuple[int, FilmMap | FilmError]]:
    found: list[tuple[int, FilmMap | FilmError]]
    found = [(film, error) for film, error in batch if isinstance(error, FilmError)]
    read = [(film, seen) for film, seen in batch if isinstance(seen, Seen)]
    made = explainer.maps_of([seen for _, seen in read], method, class_)
    return [*found, *zip([film for film, _ in read], made, strict=True)]


def _line(
    explainer: Explainer, row: pd.Series, film: int, method: str, made: FilmMap | FilmError, *, refused: bool
) -> dict[str, Any]:
    """A row of explanations.csv; what is unknown is missing."""
    line: dict[str, Any] = dict.fromkeys([*COLUMNS, *(f"p_{name}" for name in explainer.classes)])
    line |= {name: row.get(name) for name in ("image_id", "path", "patient_id", "source", "label")}
    line |= {"method": method, "_film": film}
    if isinstance(made, FilmError):
        return line | {"error": reason(made), "verdict": "not explained"}
    inside = made.inside_lungs
    line |= {
        "class": explainer.classes[made.class_],
        "verdict": "refused" if refused else _verdict(made, inside),
        "inside_lungs": inside,
        "lungs_area": math.nan if made.seen.doubt else float(made.seen.lungs.mean()),
        "peak": float(made.heat.max()),
        "logit": float(made.z[made.class_]),
        "doubt": made.seen.doubt or None,
        **{f"p_{name}": p for name, p in zip(explainer.classes, made.p.tolist(), strict=True)},
    }
    finding = _finding(row, made)
    if finding is not None and str(line["label"]) == line["class"]:  # another class's map has nothing to find there
        pointed = judge.points_inside(made.heat, finding)
        line |= {"pointing": None if pointed is None else int(pointed), "finding_area": float(finding.mean())}
        line["inside_finding"] = judge.mass_inside(made.heat, finding)
    if film < CURVED:
        found = curves(explainer.probabilities, made.seen.pixels, made.heat, made.class_, seed=film)
        line |= asdict(found)
    return line


def _verdict(made: FilmMap, inside: float) -> str:
    if not made.heat.max() > 0:
        return "flat"
    if made.seen.doubt:
        return "lungs unknown"
    return "inside" if inside > 0.5 else "outside"


def _finding(row: pd.Series, made: FilmMap) -> NDArray[np.bool_] | None:
    """The finding on the network's square, where the manifest names a mask of it."""
    path = row.get("finding_mask")
    if path is None or pd.isna(path):
        return None
    mask = decode(Path(str(path))).pixels > 127
    if mask.shape != made.seen.place.shape:
        raise RequestError(
            f"the finding's mask has {mask.shape[1]} x {mask.shape[0]} pixels and its film "
            f"{made.seen.place.shape[1]} x {made.seen.place.shape[0]}",
            where=str(path),
            next_step="A mask has its film's size; correct the manifest's column finding_mask.",
        )
    on_square = made.seen.place.on_square(mask)
    return on_square if on_square.any() else None


def _top(lines: list[dict[str, Any]], method: str) -> float:
    """The value with the brightest colour, the same for all films; at least the smallest number above 0."""
    peaks = [line["peak"] for line in lines if line["method"] == method and line["peak"] is not None]
    return max(float(np.quantile(peaks, _TOP)), 1e-12) if peaks else 1.0


def _summary(
    explainer: Explainer,
    table: pd.DataFrame,
    checks: dict[str, judge.Likeness | None],
    tops: dict[str, float],
    methods: list[str],
    about: dict[str, Any],
) -> dict[str, Any]:
    """explanations.json: what was asked, and for each method its meaning, its check and its figures by class."""
    run = explainer.network.run
    recipe = run.recipe()
    first = table[table["method"] == methods[0]]
    return {
        **about,
        "run": run.path.resolve().name,
        "classes": list(explainer.classes),
        "films": len(first),
        "failed": int(first["error"].notna().sum()),
        "doubted": int(first["doubt"].notna().sum()),
        "interval": recipe.evaluate.interval,
        "bootstrap": recipe.evaluate.bootstrap,
        "weights_sha256": explainer.network.sha256,
        "methods": {
            name: {
                "title": METHODS[name].title,
                "unit": METHODS[name].unit,
                "meaning": METHODS[name].meaning,
                "source": METHODS[name].source,
                "top": tops[name],
                "check": _check(checks[name]),
                "figures": figures_by_class(
                    table[(table["method"] == name) & table["error"].isna()], recipe.evaluate, recipe.training.seed
                ),
            }
            for name in methods
        },
    }


def _check(found: judge.Likeness | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {**asdict(found), "most": judge.MOST_ALIKE, "survives": found.survives}
