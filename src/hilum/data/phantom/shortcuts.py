"""Ways to cheat, planted on purpose, so that what finds them can be measured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from hilum.data.phantom.acquisition import Film, Hospital, collimate, write
from hilum.errors import RequestError

# The order is part of every collection's seed: add at the end.
Kind = Literal[
    "marker",
    "border",
    "contrast",
    "compression",
    "size",
    "resolution",
    "age",
    "view",
    "patient-leak",
    "duplicate-exact",
    "duplicate-resized",
    "duplicate-encoded",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEAKS = KINDS[8:]  # a matter of which films stand in which part, not of what one film shows
_WIDER = 1.25


@dataclass(frozen=True)
class Shortcut:
    """One shortcut for one label.

    strength, 0 to 1: the probability that a film of the label carries it, less that of another label's film. At 0
    one film in two carries it whatever its label, at 1 all of the label and no other. For the leaks (patient-leak,
    duplicate-...) it is the share of the label's patients, or films, that leak. An empty label: of every label, which
    only a leak can be. Refused with RequestError: another kind, a strength outside 0 to 1.

    marker        the letter of a figure's panel on white, in the lower left corner
    border        a black collimation frame
    contrast      a darker, harder tone curve
    compression   JPEG of quality 12, seen in the pixels
    size          a file of fewer pixels and wider aspect
    resolution    blurred as a small picture made larger
    age           the patient is a child of 1 to 5 years, else an adult
    view          AP supine, else PA
    patient-leak  films of one patient in both published parts
    duplicate-    a film of the train part stands in the test part again, without its patient: exact; resized to
                  80 %; or encoded anew as JPEG
    """

    kind: Kind
    strength: float
    for_label: str = ""

    def __post_init__(self) -> None:
        place = f"shortcut {self.kind!r}"
        if self.kind not in KINDS:
            raise RequestError("there is no such shortcut", where=place, next_step=f"It is one of: {', '.join(KINDS)}.")
        if not 0.0 <= self.strength <= 1.0:
            raise RequestError(f"strength {self.strength} is not between 0 and 1", where=place)
        if not self.for_label and self.kind not in LEAKS:
            raise RequestError("it needs a label to stand for", where=place, next_step="Give for_label.")

    def probability(self, label: str) -> float:
        """That a film of this label carries it.

        >>> marker = Shortcut("marker", 0.6, "covid-19")
        >>> marker.probability("covid-19"), marker.probability("normal")
        (0.8, 0.2)
        """
        here = not self.for_label or label == self.for_label
        if self.kind in LEAKS:
            return self.strength if here else 0.0
        return (1 + self.strength) / 2 if here else (1 - self.strength) / 2


def size_of(hospital: Hospital, side_px: int, carried: Collection[str]) -> tuple[int, int]:
    """Height and width of the film's file."""
    aspect = hospital.aspect * (_WIDER if "size" in carried else 1.0)
    side = side_px * (0.8 if "size" in carried else 1.0)
    return (round(side), round(side * aspect)) if aspect <= 1 else (round(side / aspect), round(side))


def plant(film: Film, rng: np.random.Generator, carried: Collection[str]) -> Film:
    """The film with what a shortcut does to its pixels; the order is that of a film's life."""
    if "contrast" in carried:
        table = np.round(255 * np.clip((np.linspace(0, 1, 256) ** 1.5 - 0.04) * 1.05, 0, 1)).astype(np.uint8)
        film = cv2.LUT(film, table)
    if "resolution" in carried:
        small = cv2.resize(film, None, fx=0.42, fy=0.42, interpolation=cv2.INTER_AREA)
        film = cv2.resize(small, film.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if "border" in carried:
        collimate(film, float(rng.uniform(0.05, 0.08)))
    if "marker" in carried:
        unit = max(film.shape) / 256
        wide, tall = round(22 * unit), round(18 * unit)
        bottom = film.shape[0] - round(14 * unit)
        film[bottom - tall : bottom, :wide] = 255
        letter = f"({'ABCDEF'[rng.integers(6)]})"
        write(film, letter, (wide // 2, bottom - tall // 2), 9 * unit, 0)
    if "compression" in carried:
        _, jpeg = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, 12])
        film = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), np.uint8)
    return film
