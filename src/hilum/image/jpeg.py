"""Grey pixels of a baseline or progressive JPEG, whole or not at all; used for files and inside DICOM."""

from __future__ import annotations

import numpy as np
import simplejpeg

from hilum.errors import FilmError
from hilum.image.codestream import JpegFrame, check_scans


def jpeg_grey(data: bytes, frame: JpegFrame, at_least_px: int | None = None) -> np.ndarray:
    """uint8 (h, w): the luminance of an 8-bit JPEG of one or three components, decoded smaller where that is allowed.

    at_least_px: decode by 1/2, 1/4 or 1/8 so long as both sides keep so many pixels. The inverse DCT then computes each
    block's mean (or 2 x 2, 4 x 4 means), so nothing is skipped over. Where a side is no multiple of the factor, the
    last mean would be taken over pixels that the encoder made up outside the film, and is left out.
    Damaged and cut-off pictures are refused with FilmError. libjpeg fills what is missing with grey and only warns;
    half a film must not pass for a whole one.
    """
    check_scans(data)
    factor = reduction(frame.width, frame.height, at_least_px)
    # simplejpeg takes the smallest scale that keeps these sides, and turbojpeg rounds scaled sides up.
    least_height, least_width = -(-frame.height // factor), -(-frame.width // factor)
    for strict in (True, False):
        try:
            pixels = simplejpeg.decode_jpeg(
                data, colorspace="GRAY", min_height=least_height, min_width=least_width, strict=strict
            )
            return pixels[: frame.height // factor, : frame.width // factor, 0]
        except ValueError as error:
            # Some scanners leave bytes between segments: every viewer shows such films, whole.
            if not strict or "extraneous bytes" not in str(error):
                raise FilmError(
                    f"the JPEG is damaged or cut off ({error})", next_step="Copy it again from where it came."
                ) from None
    raise AssertionError("the loop above returns or raises")


def reduction(width: int, height: int, at_least_px: int | None) -> int:
    """1, 2, 4 or 8: by how much a JPEG of this size is decoded smaller, so that both sides keep so many pixels.

    >>> reduction(2000, 1800, 448), reduction(2000, 1800, 901), reduction(2000, 1800, None)
    (4, 1, 1)
    """
    if at_least_px is None:
        return 1
    shorter = min(width, height)
    return next((factor for factor in (8, 4, 2) if shorter // factor >= at_least_px), 1)
