"""Films with their maps as picture files: small ones for a gallery, and ones of the film's own pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.explain.explainer import FilmMap
from hilum.files import whole_file
from hilum.image.decode import decode
from hilum.image.lungs import Lungs
from hilum.image.prepare import lungs_of
from hilum.report.overlay import overlay, webp

_PICTURE_PX = 512


@dataclass(frozen=True)
class Kept:
    """A map that the gallery shows: the row of its film, and its place."""

    film: int
    method: str
    made: FilmMap


def write_pictures(
    kept: Sequence[Kept], rows: pd.DataFrame, tops: Mapping[str, float], out: Path, *, own_pixels: bool
) -> dict[tuple[str, str], dict[str, str]]:
    """The gallery's pictures; (image_id, method) -> picture and overlay, as paths below `out`."""
    places: dict[tuple[str, str], dict[str, str]] = {}
    for each in kept:
        row = rows.loc[each.film]
        pixels = decode(Path(row["path"])).pixels
        found = lungs_of(pixels)
        name = f"{each.film + 1:03d}"
        files = {"picture": f"pictures/{name}.webp", "overlay": f"pictures/{name}-{each.method}.webp"}
        height, width = _within(pixels.shape, _PICTURE_PX)
        _write(out / files["picture"], webp(_resized(pixels, height, width)))
        _write(out / files["overlay"], webp(_drawn(pixels, each.made, found, tops[each.method], (height, width))))
        if own_pixels:
            drawn = _drawn(pixels, each.made, found, tops[each.method], pixels.shape)
            place = out / "overlays" / f"{name}-{Path(row['path']).stem}-{each.method}.png"
            _write(place, bytes(cv2.imencode(".png", drawn[:, :, ::-1])[1]))
        places[(str(row["image_id"]), each.method)] = files
    return places


def _drawn(
    pixels: NDArray[np.uint8], made: FilmMap, found: Lungs, top: float, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    height, width = shape
    seen = np.zeros(pixels.shape, np.uint8)
    seen[made.seen.place.film] = 1
    return overlay(
        _resized(pixels, height, width),
        _resized(made.on_film(), height, width),
        top,
        lungs=None if made.seen.doubt else found.mask(height, width),
        seen=_resized(seen, height, width) > 0,
    )


def _resized(picture: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    if picture.shape == (height, width):
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def _within(shape: tuple[int, ...], most: int) -> tuple[int, int]:
    scale = min(1.0, most / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as part:
        part.write_bytes(content)
