"""The sizes that compressed pictures state in their own headers, read without decoding anything.

Needed before decoding, because a header of a few bytes can ask for gigabytes; and because inside a DICOM object it may
contradict what the object says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hilum.errors import FilmError

# A progressive JPEG may refine the same picture in any number of scans, each of which costs a pass over all of it;
# encoders use about ten.
MOST_SCANS = 100
_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class JpegFrame:
    """What the header of a JPEG (or JPEG-LS) says. `exif` is the block of that name, or empty."""

    width: int
    height: int
    bits: int
    components: int
    exif: bytes = b""


def jpeg_frame(data: bytes) -> JpegFrame:
    """The frame header of a JPEG or JPEG-LS stream; a stream that ends before it is refused with FilmError.

    ITU-T T.81 annex B. Only markers before the first scan are walked over.

    >>> jpeg_frame(bytes.fromhex("ffd8 ffc0 000b 08 0010 0020 01 01 11 00"))
    JpegFrame(width=32, height=16, bits=8, components=1, exif=b'')
    """
    at, exif = 2, b""
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1  # libjpeg, too, skips what stands between two segments
            continue
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _NO_LENGTH or marker == 0xD8:
            at += 2
        elif marker in (0xD9, 0xDA):
            break
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            body = data[at + 4 : at + 2 + length]
            if (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES) or marker == 0xF7:
                if len(body) < 6:
                    break
                bits, height, width, components = struct.unpack(">BHHB", body[:6])
                return JpegFrame(width, height, bits, components, exif)
            if marker == 0xE1 and body.startswith(b"Exif\0\0"):
                exif = body
            at += 2 + max(length, 2)
    raise FilmError("the JPEG has no picture header; the file is damaged or cut off", next_step="Copy it again.")


def jpeg2000_size(data: bytes) -> tuple[int, int]:
    """Width and height of the first JPEG 2000 codestream in `data`; FilmError where there is none.

    ISO/IEC 15444-1 A.5.1: SOC, then SIZ with the reference grid and the picture's offset in it.

    >>> jpeg2000_size(bytes.fromhex("ff4f ff51 002f 0000 00000020 00000010 00000000 00000000"))
    (32, 16)
    """
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 24:
        raise FilmError("the JPEG 2000 picture has no header; the file is damaged or cut off")
    right, bottom, left, top = struct.unpack(">LLLL", data[at + 8 : at + 24])
    return right - left, bottom - top


def check_scans(data: bytes) -> None:
    """Refuse with FilmError a JPEG of so many scans that decoding it would take minutes."""
    scans = data.count(b"\xff\xda")  # inside entropy-coded data FF is always followed by 00 or a restart marker
    if scans > MOST_SCANS:
        raise FilmError(f"the JPEG has {scans} scans; an honest one has about ten")
