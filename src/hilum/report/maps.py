"""Where the model looks: the page of `hilum explain`, and the section of a run's report, from the files it wrote."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from hilum.data.words import count_of
from hilum.errors import DataError
from hilum.files import write_text
from hilum.report.facts import Context, Draw, Facts
from hilum.report.gallery import Bar
from hilum.report.html import templates
from hilum.report.overlay import address, colour_scale
from hilum.report.palette import class_colours
from hilum.report.tables import Shown, shown

FOLDER = "explanations"  # of a run
ALL = "all films"
_IN_REPORT = 9
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Figure -> what a reader calls it, in the order of the columns; those that no film has are left out.
FIGURES: Mapping[str, str] = {
    "inside_lungs": "of the map inside the lungs",
    "lungs_area": "of the picture is lung",
    "pointing": "highest place on the finding",
    "inside_finding": "of the map inside the finding",
    "finding_area": "of the picture is finding",
    "insertion": "insertion, higher is better",
    "deletion": "deletion, lower is better",
    "random": "both, for a random order",
}


@dataclass(frozen=True)
class MapCard:
    """A film, its map, and what the model and the judges said."""

    picture: str
    overlay: str
    file: str
    true: str
    class_: str
    verdict: str
    bars: list[Bar]
    lines: list[tuple[str, str]]
    doubt: str

    @property
    def alt(self) -> str:
        said = f", {dict(self.lines).get('map inside the lungs', '')} inside the lungs" if not self.doubt else ""
        return f"Map of {self.class_} on the film {self.file}{said}"


def write_page(folder: Path) -> None:
    """Write maps.html of a folder of `hilum explain`, whole or not at all, from its explanations.csv and .json."""
    found = read(folder)
    body = Markup(templates().get_template("maps.html").render(**context(*found, folder, most=None)))
    about = found[1]
    section = {"name": "maps", "heading": "Where the answers come from"}
    page = templates().get_template("maps_page.html").render(made=[(section, body)], about=about)
    write_text(folder / "maps.html", page)


def section(facts: Facts, draw: Draw) -> Context:
    """The section of a run's report; its first films only."""
    folder = facts.run.path / FOLDER
    return context(*read(folder), folder, most=_IN_REPORT)


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """explanations.csv and explanations.json. Refused with DataError: one that is missing or broken."""
    try:
        table = pd.read_csv(folder / "explanations.csv", dtype={"patient_id": "string", "label": "string"})
        about = json.loads((folder / "explanations.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the explanations cannot be read: {error}", where=str(folder)) from None
    return table, about


def context(table: pd.DataFrame, about: Mapping[str, Any], folder: Path, *, most: int | None) -> Context:
    """What maps.html is given; most: films shown of each method."""
    colours = class_colours(about["classes"])
    return {
        "about": about,
        "methods": [
            {
                **method,
                "name": name,
                "words": verdict(method),
                "heads": [words for key, words in FIGURES.items() if key in method["figures"][ALL]],
                "rows": _rows(method["figures"]),
                "scale": address(colour_scale()),
                "ticks": [f"{method['top'] * share:.3g}" for share in _TICKS],
                "cards": []
                if refused(method)
                else _cards(table[table["method"] == name], about["classes"], colours, folder, most),
            }
            for name, method in about["methods"].items()
        ],
        "whole": None if most is None else f"{FOLDER}/maps.html",
        "unread": [
            (row["path"], row["error"]) for row in _records(table[table["error"].notna()].drop_duplicates("image_id"))
        ],
        "doubted": [
            (row["path"], row["doubt"])
            for row in _records(table[table["doubt"].notna()].drop_duplicates("image_id").head(20))
        ],
    }


def refused(method: Mapping[str, Any]) -> bool:
    """Whether the method's maps outlived the loss of all that was learned."""
    return bool(method["check"] and method["check"]["survives"])


def verdict(method: Mapping[str, Any]) -> dict[str, Any]:
    """The sentence that a reader must see first, and whether it is a warning.

    >>> outside = {"inside_lungs": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 40, "patients": 40}}
    >>> verdict({"title": "Grad-CAM", "check": None, "figures": {"all films": outside}})["line"]
    'Over half of what speaks for the classes lies outside the lungs.'
    """
    check = method["check"]
    if check and check["survives"]:
        return {
            "warn": True,
            "line": f"{method['title']} is refused for this network, and no map is shown.",
            "rest": f"With random weights in place of learned ones its maps stay as they are ({_alike(check)}). They "
            "show the film or the network's build, and nothing that was learned.",
        }
    rest = f"Maps of random weights are unlike these ({_alike(check)})." if check else ""
    figures = method["figures"][ALL]
    inside = figures.get("inside_lungs")
    if inside is None:
        line = "How much lies inside the lungs is unknown: no film has believable lungs."
        return {"warn": True, "line": line, "rest": rest}
    area = f" The lungs are {figures['lungs_area']['value']:.3f} of the pictures." if "lungs_area" in figures else ""
    line = (
        "Over half of what speaks for the classes lies outside the lungs."
        if inside["value"] < 0.5
        else "Over half of what speaks for the classes lies inside the lungs."
    )
    return {
        "warn": inside["value"] < 0.5,
        "line": line,
        "rest": f"Inside: {shown(inside).line}.{area} {rest}".strip(),
    }


def _alike(check: Mapping[str, Any]) -> str:
    return (
        f"rank correlation {check['spearman']:.2f}, structural similarity {check['ssim']:.2f}, of "
        f"{count_of(check['n'], 'film')} and {count_of(check['draws'], 'draw')}; refused from {check['most']:g} on"
    )


def _rows(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[Shown]]]:
    there = [key for key in FIGURES if key in figures[ALL]]
    return [(group, [shown(of_group.get(key)) for key in there]) for group, of_group in figures.items()]


def _cards(
    table: pd.DataFrame, classes: list[str], colours: Mapping[str, str], folder: Path, most: int | None
) -> list[MapCard]:
    rows = _records(table[table["overlay"].notna()])
    return [_card(row, classes, colours, folder) for row in rows[:most]]


def _card(row: Mapping[str, Any], classes: list[str], colours: Mapping[str, str], folder: Path) -> MapCard:
    true = _text(row["label"])
    values = {
        "map inside the lungs": row["inside_lungs"],
        "lungs' share of the picture": row["lungs_area"],
        "map inside the finding": row["inside_finding"],
    }
    lines = [(name, f"{value:.2f}") for name, value in values.items() if pd.notna(value)]
    if pd.notna(row["pointing"]):
        lines.append(("highest place on the finding", "yes" if row["pointing"] else "no"))
    lines.append((f"logit of {row['class']}", f"{row['logit']:.1f}"))
    lines.append(("highest value of the map", f"{row['peak']:.2g}"))
    return MapCard(
        _picture(folder, row["picture"]),
        _picture(folder, row["overlay"]),
        _text(row["image_id"]).removeprefix(f"{_text(row['source'])}/"),
        true,
        row["class"],
        row["verdict"],
        [Bar(name, float(row[f"p_{name}"]), colours[name], name == true) for name in classes],
        lines,
        _text(row["doubt"]),
    )


def _picture(folder: Path, name: str) -> str:
    """A picture's data: address; "" where its file is gone."""
    try:
        return "data:image/webp;base64," + base64.b64encode((folder / name).read_bytes()).decode("ascii")
    except OSError:
        return ""


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)
