"""A map drawn on its film: grey film, warm colours where the class's logits come from, the lungs' outline."""

from __future__ import annotations

import base64
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

# Sky blue of Okabe and Ito: apart from every colour of the map, for any colour vision.
_OUTLINE = (86, 180, 233)
_EDGE = (200, 200, 200)
# The map's colours are inferno from here on, as its darkest are none on a dark film; and so opaque at the top.
_FIRST_COLOUR, _OPACITY = 0.45, 0.75


def overlay(
    pixels: Pixels, values: Floats, top: float, *, lungs: Mask | None = None, seen: Mask | None = None
) -> Pixels:
    """A film, uint8 (H, W), with its map (H, W), as RGB uint8 (H, W, 3).

    top: the map's value that has the brightest colour; half of it has half the opacity, so that a weak map looks weak,
    and what is not positive shows the bare film. lungs: outlined. seen: what of the film the network was shown, framed
    where that is not all of it.

    >>> film = np.full((2, 2), 100, np.uint8)
    >>> overlay(film, np.array([[0.0, -1.0], [0.001, 5.0]]), 5.0)[0].tolist()
    [[100, 100, 100], [100, 100, 100]]
    """
    share = np.clip(values / top, 0.0, 1.0).astype(np.float32)[:, :, None]
    grey = np.repeat(pixels[:, :, None], 3, axis=2).astype(np.float32)
    drawn = np.asarray(np.round(grey + _OPACITY * share * (_colours(share[:, :, 0]) - grey)), np.uint8)
    for mask, colour in ((seen, _EDGE), (lungs, _OUTLINE)):
        if mask is not None and not mask.all():
            outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(drawn, outlines, -1, colour, max(1, round(max(pixels.shape) / 300)), cv2.LINE_AA)
    return drawn


def colour_scale(width: int = 256, height: int = 12, grey: int = 90) -> Pixels:
    """The map's colours from 0 to the top as they look on a film of this grey, RGB uint8 (height, width, 3)."""
    film = np.full((height, width), grey, np.uint8)
    return overlay(film, np.tile(np.linspace(0.0, 1.0, width), (height, 1)), 1.0)


def address(picture: Pixels) -> str:
    """A picture as a data: address, WebP."""
    return "data:image/webp;base64," + base64.b64encode(webp(picture)).decode("ascii")


def webp(picture: Pixels) -> bytes:
    """A picture's file, grey (H, W) or RGB (H, W, 3)."""
    out = BytesIO()
    Image.fromarray(picture).save(out, "WEBP", quality=82, method=4)
    return out.getvalue()


def _colours(share: NDArray[np.float32]) -> NDArray[np.float32]:
    place = np.round(255 * (_FIRST_COLOUR + (1 - _FIRST_COLOUR) * share)).astype(np.uint8)
    return cv2.applyColorMap(place, cv2.COLORMAP_INFERNO)[:, :, ::-1].astype(np.float32)
