"""From optical depth to the film of one hospital: scatter, noise, the look of its software, marks and border."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.data.phantom.anatomy import View
from hilum.data.phantom.tissue import Chest, Plane
from hilum.errors import RequestError

Film = NDArray[np.uint8]  # (H, W)
_LEVELS = 2048  # of the tone curve's table


@dataclass(frozen=True)
class Hospital:
    """How one hospital's films look, and how it files them.

    aspect is width / height. scatter, noise, latitude, sharpen and the tone curve (gamma, slope, middle) are shares
    of 1; blur_px is a standard deviation. latitude flattens large differences, as processing software does. views
    are the shares of its films. text stands in a corner of each film, as burned in by the modality. Refused with
    RequestError: a format, number of bits or aspect that no writer takes.
    """

    name: str
    aspect: float = 1.0
    scatter: float = 0.8
    noise: float = 0.016
    blur_px: float = 0.5
    latitude: float = 0.45
    sharpen: float = 0.5
    gamma: float = 1.2
    slope: float = 4.5
    middle: float = 0.5
    lung_grey: float = 0.27
    border: float = 0.0
    marker: Literal["none", "letter", "circle", "box"] = "letter"
    marker_side: Literal["R", "L"] = "R"
    text: str = ""
    views: tuple[tuple[View, float], ...] = (("PA", 1.0),)
    format: Literal["png", "jpeg", "dicom"] = "png"
    bits: Literal[8, 12, 16] = 8
    monochrome: Literal[1, 2] = 2
    jpeg_quality: int = 92

    def __post_init__(self) -> None:
        place = f"hospital {self.name!r}"
        allowed = {"png": (8, 16), "jpeg": (8,), "dicom": (8, 12, 16)}
        if self.format not in allowed or self.bits not in allowed[self.format]:
            raise RequestError(
                f"no writer makes {self.format} of {self.bits} bits",
                where=place,
                next_step="Choose png of 8 or 16, jpeg of 8, or dicom of 8, 12 or 16.",
            )
        if not 0.5 <= self.aspect <= 2.0:
            raise RequestError(f"aspect {self.aspect} is not between 0.5 and 2", where=place)


NORTH = Hospital("north", views=(("PA", 0.8), ("AP", 0.2)))
SOUTH = Hospital(
    "south",
    aspect=0.84,
    scatter=1.0,
    noise=0.026,
    blur_px=0.8,
    latitude=0.3,
    sharpen=0.25,
    gamma=1.0,
    slope=3.5,
    lung_grey=0.32,
    border=0.012,
    marker="circle",
    marker_side="L",
    text="SOUTH GEN  DX2",
    views=(("PA", 0.5), ("AP", 0.3), ("AP supine", 0.2)),
    format="jpeg",
)
HOSPITALS = (NORTH, SOUTH)


@dataclass(frozen=True)
class Exposure:
    """What the detector and the software make of a chest: the same for the film with a finding and without.

    Both are made from the chest without a finding, so that a finding changes nothing outside its mask.
    """

    scatter: Plane  # beside the primary beam, of which 1 is the open field
    local: Plane  # what the software takes away
    low: float  # signal shown black
    high: float  # signal shown white
    tone: NDArray[np.float32]  # (_LEVELS,), 0 to 1

    def grey(self, depth: Plane, where: NDArray[np.bool_] | None = None) -> Plane:
        """Grey level, 0 to 1, of this optical depth, without noise; `where` chooses the pixels that depth holds."""
        scatter, local = (self.scatter, self.local) if where is None else (self.scatter[where], self.local[where])
        return self.toned(self.shown(-np.log(np.exp(-depth) + scatter), local))

    def shown(self, signal: Plane, local: Plane) -> Plane:
        return (signal - local - np.float32(self.low)) * np.float32(1.0 / (self.high - self.low))

    def toned(self, shown: Plane) -> Plane:
        return self.tone.take((np.clip(shown, 0.0, 1.0) * np.float32(_LEVELS - 1)).astype(np.intp))


def expose(rng: np.random.Generator, chest: Chest, hospital: Hospital) -> Exposure:
    """Scatter, latitude and grey-level window for a chest in this hospital; no two exposures are quite the same."""
    size = chest.depth.shape[::-1]
    step = 4  # all of this is smooth
    depth = cv2.resize(chest.depth, (size[0] // step, size[1] // step), interpolation=cv2.INTER_AREA)
    lungs = cv2.resize(chest.lungs.view(np.uint8), depth.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    primary = np.exp(-depth)
    px_per_cm = chest.grid.px_per_cm / step
    scatter = _smooth(np.minimum(primary, 0.25), 3.0 * px_per_cm) * np.float32(0.4 * hospital.scatter)
    signal = -np.log(primary + scatter)
    local = _smooth(signal, 2.2 * px_per_cm) * np.float32(hospital.latitude)
    shown = signal - local
    # Like exposure software: the window hangs on the lungs and on the whitest of the film, not on the open field.
    dark = float(np.quantile(shown[lungs], 0.10))
    high = float(np.quantile(shown, 0.99))
    high += (high - dark) * float(rng.uniform(0.06, 0.22))
    grey = float(np.clip(hospital.lung_grey + rng.normal(0.0, 0.025), 0.05, 0.6))
    low = dark - (high - dark) * grey / (1 - grey)
    tone = _tone(hospital.gamma, hospital.slope, hospital.middle)
    return Exposure(cv2.resize(scatter, size), cv2.resize(local, size), low, high, tone)


def _smooth(plane: Plane, sigma_px: float) -> Plane:
    """Widely blurred; what lies around the film looks like its edge."""
    small = cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / 2, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, plane.shape[::-1])


@lru_cache(maxsize=64)
def _tone(gamma: float, slope: float, middle: float) -> NDArray[np.float32]:
    """A characteristic curve with toe and shoulder."""
    t = np.linspace(0.0, 1.0, _LEVELS) ** gamma
    s = 1 / (1 + np.exp(-slope * (t - middle)))
    return (0.4 * t + 0.6 * (s - s[0]) / (s[-1] - s[0])).astype(np.float32)


def strength_for(exposure: Exposure, chest: Chest, opacity: Plane, mask: NDArray[np.bool_], contrast: float) -> float:
    """By how much to multiply the opacity so that the mask's mean grey level rises by `contrast`.

    At most all air of the lung becomes water; a contrast that needs more gets that.
    """
    rows, columns = np.nonzero(mask)
    every = max(1, rows.size // 1500)
    chosen = (rows[::every], columns[::every])
    scatter, local = exposure.scatter[chosen], exposure.local[chosen]
    tries = np.array([0.0, 0.05, 0.1, 0.18, 0.3, 0.45, 0.65, 0.9, 1.3, 1.9, 2.7, 4.0, 8.0], np.float32)
    signal = -np.log(np.exp(-chest.filled(tries[:, None], opacity, chosen)) + scatter)
    mean = exposure.toned(exposure.shown(signal, local)).mean(axis=1)
    return float(np.interp(contrast, mean - mean[0], tries))


def develop(rng: np.random.Generator, depth: Plane, exposure: Exposure, hospital: Hospital) -> Plane:
    """The film, 0 black to 1 white: quantum noise, the detector's blur, window, sharpening, tone."""
    light = np.exp(-depth) + exposure.scatter
    # Poisson noise of a logarithm falls with the square root of the light; 0.1 is about that behind a lung.
    grain = np.float32(hospital.noise * np.sqrt(0.1)) * _bell(rng, depth.shape)
    signal = (grain / np.sqrt(light) - np.log(light)).astype(np.float32, copy=False)
    if hospital.blur_px > 0.3:
        signal = cv2.GaussianBlur(signal, (0, 0), hospital.blur_px)
    shown = np.clip(exposure.shown(signal, exposure.local), -0.05, 1.05)
    if hospital.sharpen:
        wide = cv2.GaussianBlur(shown, (7, 7), 1.8)
        shown = cv2.addWeighted(shown, 1 + hospital.sharpen, wide, -hospital.sharpen, 0)
    return exposure.toned(shown)


def _bell(rng: np.random.Generator, shape: tuple[int, ...]) -> Plane:
    """Noise of mean 0 and spread 1: the sum of four random bytes, near enough to normal and three times as fast."""
    bytes_ = np.frombuffer(rng.bytes(4 * shape[0] * shape[1]), np.uint8).reshape(4, *shape)
    total = bytes_[0].astype(np.float32)
    for one in bytes_[1:]:
        total += one
    return (total - np.float32(510.0)) * np.float32(1 / 147.80)  # 2 sqrt((256^2 - 1) / 12)


def mark(film: Film, hospital: Hospital, view: View) -> None:
    """Draw what stands on the hospital's films, in place: side letter, view, text."""
    height, width = film.shape
    unit = max(height, width) / 256
    side = 1 if hospital.marker_side == "L" else -1
    x, y = round(width / 2 + side * 0.40 * width), round(0.075 * height)
    if hospital.marker == "circle":
        cv2.circle(film, (x, y), round(8 * unit), 235, max(1, round(unit)), cv2.LINE_AA)
    if hospital.marker == "box":
        half = round(8 * unit)
        cv2.rectangle(film, (x - half, y - half), (x + half, y + half), 8, -1)
    if hospital.marker != "none":
        write(film, hospital.marker_side, (x, y), 9.5 * unit, 245, bold=True)
    if view != "PA":
        write(film, "AP" if view == "AP" else "AP SUPINE", (x, y + round(15 * unit)), 5.5 * unit, 235)
    if hospital.text:
        write(film, hospital.text, (round(width / 2 - side * 0.36 * width), round(0.04 * height)), 4.5 * unit, 215)


def write(film: Film, text: str, centre: tuple[int, int], tall_px: float, grey: int, *, bold: bool = False) -> None:
    """Text of this height around a point, in place; kept inside the film."""
    scale = tall_px / 21.0  # capitals of the font are 21 units high
    thick = max(1, round(tall_px / (7 if bold else 12)))
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    x = int(np.clip(centre[0] - wide // 2, 2, max(2, film.shape[1] - wide - 2)))
    y = int(np.clip(centre[1] + tall // 2, tall + 2, film.shape[0] - 3))
    cv2.putText(film, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, grey, thick, cv2.LINE_AA)


def collimate(film: Film, share: float) -> None:
    """Black frame of this share of each side, in place."""
    rows, columns = round(share * film.shape[0]), round(share * film.shape[1])
    if rows and columns:
        film[:rows], film[-rows:], film[:, :columns], film[:, -columns:] = 3, 3, 3, 3
