"""What can be seen of a film without looking at a lung: its grey levels, border, marks, sharpness, thumbnail."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.errors import FilmError
from hilum.image.decode import decode, read_bytes
from hilum.image.kinds import kind_of
from hilum.image.marks import SIDE_PX, marks_on, shrunk
from hilum.image.prepare import prepare
from hilum.image.workers import map_films
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Prepare

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
HISTOGRAM_BINS = 32
THUMBNAIL_PX = 8
BORDER = 0.1  # share of a side
_FRAME_PX = 20  # side of the picture whose outermost ring of two pixels is the border
_FLAT = 0.95  # share of a row that is black, or white, where the row belongs to a frame


@dataclass(frozen=True)
class Traits:
    """Of one film, each an array of its own. coarseness: of its file, where that is a JPEG."""

    coarseness: float
    histogram: Floats
    border: Floats
    marks: Floats
    sharpness: Floats
    thumbnail: Floats


def traits_of(path: Path, prepared: Prepare | None = None) -> Traits:
    """One film as it is or, prepared, as a network sees it. Refused with FilmError: a file that is no film."""
    data = read_bytes(path)
    film = decode(data)
    seen = film.pixels if prepared is None else prepare(film.pixels, prepared)
    pixels = shrunk(seen, SIDE_PX)
    bytes_per_pixel = len(data) / (film.facts.width * film.facts.height)
    return Traits(
        coarseness=coarseness(data),
        histogram=histogram(pixels),
        border=border(pixels),
        marks=marks(pixels),
        sharpness=np.append(sharpness(seen), 0.0 if prepared else bytes_per_pixel),
        thumbnail=_small(pixels, THUMBNAIL_PX).ravel() / 255.0,
    )


def all_traits(
    paths: Sequence[Path],
    prepared: Prepare | None = None,
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> list[Traits | FilmError]:
    """`traits_of` each path in order; the error of one that cannot be read stands in its place."""
    found: dict[int, Traits | FilmError] = {}
    with progress.task("looking at films", total=len(paths)) as advance:
        for index, traits in map_films(partial(traits_of, prepared=prepared), list(paths), workers=workers):
            found[index] = traits
            advance(1)
    return [found[index] for index in range(len(paths))]


def coarseness(data: bytes) -> float:
    """Mean step by which a JPEG's brightness was rounded, the coarser the smaller its file; 0 of other files.

    It says how the file was written and nothing of what is on it, unlike the number of its bytes.
    """
    if kind_of(data) != "jpeg":
        return 0.0
    with Image.open(io.BytesIO(data)) as picture:
        tables = getattr(picture, "quantization", {})
    return float(np.mean(tables[0])) if tables.get(0) else 0.0


def histogram(pixels: Pixels) -> Floats:
    """Share of the pixels in each of 32 equal bins of grey, (32,).

    >>> histogram(np.array([[0, 255]], np.uint8))[[0, 31]].tolist()
    [0.5, 0.5]
    """
    counts = np.bincount((pixels >> 3).ravel(), minlength=HISTOGRAM_BINS)
    return np.asarray(counts / pixels.size, float)


def border(pixels: Pixels) -> Floats:
    """The outermost tenth of each side, corners included, in 144 squares; and how wide its black and white edges are.

    The last eight: for each side (top, bottom, left, right) the share of the film's side that is black, or white,
    from the edge inwards.
    """
    small = _small(pixels, _FRAME_PX)
    ring = np.ones((_FRAME_PX, _FRAME_PX), bool)
    width = round(BORDER * _FRAME_PX)
    ring[width:-width, width:-width] = False
    return np.concatenate([small[ring] / 255.0, _edges(pixels)])


def _edges(pixels: Pixels) -> Floats:
    """How far black and white reach inwards from each side, as shares of the side, (8,)."""
    out = []
    for lines in (pixels, pixels[::-1], pixels.T, pixels.T[::-1]):
        reach = lines[: max(1, lines.shape[0] // 3)]
        flat = np.stack([(reach <= 12).mean(axis=1) >= _FLAT, (reach >= 243).mean(axis=1) >= _FLAT])
        out.append(np.where(flat.all(1), flat.shape[1], flat.argmin(1)) / lines.shape[0])
    return np.concatenate(out)


def marks(pixels: Pixels) -> Floats:
    """White letters, markers and panels near the edges: number, area and height in each quarter of the film, (15,).

    What a mark is, `image.marks` says. The last three: all marks, their area, and the largest that fills its box.
    """
    found = marks_on(pixels)
    height, width = pixels.shape
    out = np.zeros((4, 3))
    box = 0.0
    for (_, _, wide, tall), area, (x, y) in zip(found.box, found.area, found.middle, strict=True):
        quarter = 2 * (y > height / 2) + (x > width / 2)
        share = area / pixels.size
        out[quarter] += (1, share, 0)
        out[quarter, 2] = max(out[quarter, 2], tall / max(pixels.shape))
        if area > 0.6 * wide * tall:
            box = max(box, share)
    return np.concatenate([out.ravel(), [out[:, 0].sum(), out[:, 1].sum(), box]])


def sharpness(pixels: Pixels) -> Floats:
    """How much there is of fine detail, and of the 8 x 8 blocks of JPEG, (7,).

    The logarithm of the energy in four octaves of detail from the finest on, its fall from one to the next, and the
    steps at every eighth column and row against those between, and the share of neighbours that are equal.
    """
    plane = pixels.astype(np.float32)
    energy = []
    for _ in range(4):
        if min(plane.shape) < 8:
            energy.append(0.0)
            continue
        below = cv2.pyrDown(plane)
        energy.append(float(np.log1p(np.mean(np.square(plane - cv2.pyrUp(below, dstsize=plane.shape[::-1]))))))
        plane = below
    steps = [np.abs(np.diff(pixels.astype(np.int16), axis=axis)).mean(axis=1 - axis) for axis in (0, 1)]
    blocks = float(np.mean([line[7::8].mean() - line.mean() if len(line) > 8 else 0.0 for line in steps]))
    flat = float((np.diff(pixels.astype(np.int16), axis=1) == 0).mean())
    return np.array([*energy, energy[0] - energy[1], blocks, flat])


def _small(pixels: Pixels, side_px: int) -> Floats:
    return np.asarray(cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_AREA), float)
