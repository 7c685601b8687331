"""What a file is, told by its content. Its name is not looked at: suffixes lie."""

from __future__ import annotations

import struct
from typing import Literal

from hilum.errors import FilmError

Kind = Literal["png", "jpeg", "dicom", "bmp", "tiff", "webp"]
HEAD_BYTES = 4096

FILMS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)
# What people have among their films, and what to do about it.
OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"PK\x03\x04", "a zip archive", "Unpack it first."),
    (b"PK\x05\x06", "an empty zip archive", ""),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first."),
    (b"Rar!", "a RAR archive", "Unpack it first."),
    (b"%PDF", "a PDF document", "Export its film as PNG."),
    (b"%!PS", "a PostScript document", "Export its film as PNG."),
    (b"\xc5\xd0\xd3\xc6", "an EPS picture", "Export it as PNG."),
    (b"GIF8", "a GIF picture", "Save it as PNG."),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture", "Save it as PNG, or use the DICOM it came from."),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream", "Save it as PNG, or use the DICOM it came from."),
    (b"\x93NUMPY", "a NumPy array", "Save it as 16-bit PNG."),
    (b"\x89HDF\r\n", "an HDF5 file", "Export its films as PNG."),
    (b"8BPS", "a Photoshop picture", "Save it as PNG."),
    (b"version https://git-lfs", "a Git LFS pointer", "Fetch the picture itself with: git lfs pull"),
    (b"II+\x00", "a BigTIFF picture", "Save it as PNG."),
    (b"MM\x00+", "a BigTIFF picture", "Save it as PNG."),
)
TEXTS = ((b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"), (b"<svg", "an SVG drawing"))


def kind_of(data: bytes) -> Kind:
    """The kind of a file from its first bytes (`HEAD_BYTES` are enough).

    Anything else is refused with FilmError, which names what it is where that can be told.

    >>> kind_of(b"\\xff\\xd8\\xff\\xe0 and so on")
    'jpeg'
    >>> kind_of(b"<!DOCTYPE html><html><body>Please log in")
    Traceback (most recent call last):
    hilum.errors.FilmError: this is an HTML page, not a film. Download the file again.
    """
    if not data:
        raise FilmError("the file is empty", next_step="Delete it or copy it again.")
    if data[128:132] == b"DICM":
        return "dicom"
    for start, kind in FILMS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if is_dicom_without_preamble(data):
        return "dicom"
    raise _not_a_film(data[:HEAD_BYTES])


def _not_a_film(head: bytes) -> FilmError:
    for start, name, next_step in OTHERS:
        if head.startswith(start):
            return FilmError(f"this is {name}, not a film", next_step=next_step)
    if head[4:8] == b"ftyp":
        return FilmError("this is a HEIC, AVIF or video file, not a film", next_step="Save it as PNG.")
    if head[257:262] == b"ustar":
        return FilmError("this is a tar archive, not a film", next_step="Unpack it first.")
    if head[344:348] in (b"n+1\x00", b"ni1\x00"):
        return FilmError("this is a NIfTI volume, not a film")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, name in TEXTS:
        if text.startswith(start) or (text.startswith((b"<?xml", b"<!--")) and start in text):
            return FilmError(f"this is {name}, not a film", next_step="Download the file again.")
    if not head.strip(b"\x00"):
        return FilmError("the file holds only zeros", next_step="Copy it again.")
    if b"\x00" not in head and _is_text(head):
        return FilmError("this is a text, not a film")
    return FilmError("this is no PNG, JPEG, DICOM, BMP, TIFF or WebP file")


def _is_text(head: bytes) -> bool:
    try:
        head[:-4].decode("utf-8")  # the last character may be cut in two
    except UnicodeDecodeError:
        return False
    return True


def is_dicom_without_preamble(data: bytes) -> bool:
    """Whether bytes without DICOM's mark can only be a data set that begins right away: group 0002 or 0008 first.

    Old archives and some toolkits leave out the preamble and the file meta information. The first element must have a
    known value representation, or (implicit) a small even length that the data can hold.

    >>> is_dicom_without_preamble(b"\\x08\\x00\\x05\\x00CS\\x0a\\x00ISO_IR 100")
    True
    """
    if len(data) < 12:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack(order + "HH", data[:4])
        if group not in (0x0002, 0x0008) or element > 0x2000:
            continue
        if data[4:6] in (b"AE", b"CS", b"DA", b"LO", b"OB", b"SH", b"TM", b"UI", b"UL", b"DT", b"PN", b"SQ", b"ST"):
            return True
        (length,) = struct.unpack(order + "L", data[4:8])
        if length % 2 == 0 and length <= 256:
            return True
    return False
