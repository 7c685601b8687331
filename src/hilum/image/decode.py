"""From a file to one grey film: the only place where pictures are decoded.

docs/films.md says how each kind is read. DICOM objects go to `hilum.image.dicom_pixels`.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from hilum.errors import FilmError
from hilum.image.codestream import check_scans, jpeg_frame
from hilum.image.film import MAX_FILE_BYTES, FileFacts, Film, check_size, luminance, to_eight_bits
from hilum.image.jpeg import jpeg_grey, reduction
from hilum.image.kinds import Kind, kind_of
from hilum.image.png import plain_png

_ORIENTATION = 0x0112
# By EXIF 2.3 table 6: what brings each orientation upright. Each is a view or copy of (H, W).
_UPRIGHT = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.T,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].T,
    8: lambda pixels: np.rot90(pixels),
}
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_DAMAGED = "the picture is damaged or cut off"


def read_bytes(path: Path) -> bytes:
    """The bytes of a film's file. FilmError for what is absent, no regular file, over 512 MiB, or may not be read."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for without end
            raise FilmError("this is a folder, pipe or device, not a file", where=str(path))
        if about.st_size > MAX_FILE_BYTES:
            raise FilmError(
                f"the file has {about.st_size / 2**20:.0f} MiB; at most {MAX_FILE_BYTES // 2**20} are read",
                where=str(path),
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise FilmError("there is no such file", where=str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise FilmError(f"the file cannot be read: {reason}", where=str(path)) from None


def decode(source: Path | bytes, *, at_least_px: int | None = None, where: str = "") -> Film:
    """The film in a file or in its bytes, as grey uint8 (H, W) with black = 0 = air.

    at_least_px: a JPEG may be decoded smaller (by 1/2, 1/4 or 1/8), so long as both sides keep at least so many pixels;
    it saves most of the time of a large film. `facts` stay those of the file.
    where: the name that errors give; that of the file where `source` is one.

    PNG, JPEG, DICOM, BMP, TIFF and WebP are read; what a file is, is told by its content. FilmError, and no other
    error, for anything that is not read or is refused: see docs/films.md.
    """
    if isinstance(source, Path):
        where = where or str(source)
        source = read_bytes(source)
    try:
        kind = kind_of(source)
        if kind == "dicom":
            # Imported here, because pydicom takes longer to import than a hundred films take to decode.
            from hilum.image.dicom_pixels import decode_dicom

            return decode_dicom(source, at_least_px)
        if kind == "jpeg":
            return _decode_jpeg(source, at_least_px)
        return _decode_raster(source, kind)
    except MemoryError:
        raise FilmError("there is not enough memory to decode this film", where=where) from None
    except FilmError as error:
        raise FilmError(error.what, where=error.where or where, next_step=error.next_step) from error.__cause__


def decoded_for(source: Path | bytes, sizes: Iterable[int], *, where: str = "") -> dict[int, Film]:
    """The film as `decode` gives it for each of these `at_least_px`; the same errors.

    It is decoded once, and again only for a size for which a JPEG is reduced further.
    """
    data, where = (read_bytes(source), where or str(source)) if isinstance(source, Path) else (source, where)
    films: dict[int, Film] = {}
    for px in sorted(set(sizes), reverse=True):
        same = next((film for larger, film in films.items() if _factor(film, larger) == _factor(film, px)), None)
        films[px] = same or decode(data, at_least_px=px, where=where)
    return films


def _factor(film: Film, at_least_px: int) -> int:
    """By how much the picture in the file of this film is reduced for a size, where its compression allows it."""
    facts = film.facts
    return reduction(facts.width, facts.height, at_least_px) if facts.format in ("jpeg", "dicom") else 1


def _decode_jpeg(data: bytes, at_least_px: int | None) -> Film:
    frame = jpeg_frame(data)
    check_size(frame.width, frame.height)
    check_scans(data)
    if frame.bits != 8:
        raise FilmError(f"this is a JPEG of {frame.bits} bits, which is not read", next_step="Save it as 16-bit PNG.")
    orientation = _orientation(frame.exif)
    if frame.components == 4:
        # CMYK and YCCK: Adobe's are stored inverted, which Pillow knows and libjpeg leaves to its callers.
        with _broken_as_film_error("jpeg"):
            pixels = _grey(_load(data, "jpeg"))
    else:
        pixels = jpeg_grey(data, frame, at_least_px)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(frame.components, f"{frame.components} components")
    return _film(pixels, orientation, frame.width, frame.height, 8, mode, "jpeg")


def _decode_raster(data: bytes, kind: Kind) -> Film:
    """PNG, BMP, TIFF and WebP, all but plain PNGs by Pillow; TIFF and WebP of several pictures are refused."""
    if kind == "png":
        width, height = _png_size(data)
        check_size(width, height)
        if (samples := plain_png(data)) is not None:
            return Film(_grey_of_samples(samples), FileFacts(width, height, *_png_facts(data, ""), kind))
    with _broken_as_film_error(kind):
        image = _load(data, kind)
        pictures = 1 if kind == "png" else getattr(image, "n_frames", 1)
        if pictures > 1:
            raise FilmError(f"the file holds {pictures} pictures; one film is read", next_step="Save each by itself.")
        bits, mode = _raster_facts(data, kind, image)
        sixteen_bit_colour = bits == 16 and not image.mode.startswith("I;16")
        pixels = _sixteen_bit_colour(data) if sixteen_bit_colour else _grey(image)
        return _film(pixels, image.getexif().get(_ORIENTATION, 1), image.width, image.height, bits, mode, kind)


@contextmanager
def _broken_as_film_error(kind: Kind) -> Iterator[None]:
    """Every error of Pillow becomes a FilmError, and its warnings are not shown.

    On broken files it raises nearly every kind of error (OSError, SyntaxError, ValueError, TypeError, KeyError,
    struct.error, zlib.error, EOFError), some only when a property is read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (FilmError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise FilmError(str(error).split(",")[0]) from None
    except UnidentifiedImageError:
        raise FilmError(f"the file begins as {kind} but {_DAMAGED}", next_step="Copy it again.") from None
    except Exception as error:
        raise FilmError(f"{_DAMAGED}: {error}", next_step="Copy it again.") from None


def _load(data: bytes, kind: Kind) -> Image.Image:
    """Pillow's picture, decoded; only the decoder of this kind is ever tried."""
    image = Image.open(io.BytesIO(data), formats=[kind.upper()])
    check_size(image.width, image.height)
    image.load()
    return image


def _grey(image: Image.Image) -> np.ndarray:
    """uint8 (H, W) of a Pillow picture of up to 16 bits; what is transparent is black, as if it lay over black."""
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        key = image.info.get("transparency")
        if isinstance(key, int):
            pixels = np.where(pixels == key, 0, pixels)
        grey = to_eight_bits(pixels.astype(np.uint16, copy=False))
        white_is_zero = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
        return 255 - grey if white_is_zero else grey
    if image.mode in ("I", "F"):
        raise FilmError("the grey values have 32 bits, and no white is told", next_step="Save it as 16-bit PNG.")
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa", "RGBA"):
        image = image.convert("RGBA")
        return _over_black(np.asarray(image.convert("L")), np.asarray(image.getchannel("A")))
    if image.mode not in ("L", "RGB", "1"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))  # BT.601, with the weights of `luminance`


def _grey_of_samples(samples: np.ndarray) -> np.ndarray:
    """The same of (H, W, 1, 3 or 4) samples."""
    planes = cv2.split(samples)
    if len(planes) == 1:
        return to_eight_bits(planes[0])
    # Most films that are saved in colour are grey, and their own luminance, as its weights add up to 1.
    colourless = all(np.array_equal(planes[0], other) for other in planes[1:3])
    grey = planes[0] if colourless else luminance(samples)
    return grey if len(planes) == 3 else _over_black(grey, planes[3])


def _over_black(grey: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    most = int(alpha.max())
    if most == 0:
        raise FilmError("every pixel of the picture is transparent", next_step="Save it without transparency.")
    if int(alpha.min()) == 255:
        return grey
    return ((grey.astype(np.uint32) * alpha + 127) // 255).astype(np.uint8)


def _sixteen_bit_colour(data: bytes) -> np.ndarray:
    """16-bit pictures of more than one channel, of which Pillow keeps only the upper eight bits.

    The picture was loaded by Pillow before, which finds damage that OpenCV passes over.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise FilmError(_DAMAGED, next_step="Copy it again.")
    grey = to_eight_bits(luminance(pixels[..., 2::-1]))
    if pixels.shape[2] == 4:
        return _over_black(grey, (pixels[..., 3] >> 8).astype(np.uint8))
    return grey


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR" or len(data) < 26:
        raise FilmError(f"the PNG has no header; {_DAMAGED}", next_step="Copy it again.")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _png_facts(data: bytes, other: str) -> tuple[int, str]:
    """Bits and mode; `other` is the mode of a colour type that PNG does not have."""
    bits, colour = data[24], _PNG_MODES.get(data[25], other)
    return bits, {("L", 1): "1", ("L", 16): "I;16"}.get((colour, bits), colour)


def _raster_facts(data: bytes, kind: Kind, image: Image.Image) -> tuple[int, str]:
    if kind == "png":
        return _png_facts(data, image.mode)
    if kind == "tiff":
        bits = int(max(getattr(image, "tag_v2", {}).get(258, (1,))))
        return bits, "I;16" if image.mode.startswith("I;16") else image.mode
    return (1 if image.mode == "1" else 8), image.mode


def _orientation(exif: bytes) -> int:
    if not exif:
        return 1
    block = Image.Exif()
    try:
        block.load(exif)
        return int(block.get(_ORIENTATION, 1))
    except Exception:  # a broken Exif block says nothing about the picture
        return 1


def _film(pixels: np.ndarray, orientation: object, width: int, height: int, bits: int, mode: str, kind: Kind) -> Film:
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    if turn is not None:
        pixels = turn(pixels)
        if orientation >= 5:  # type: ignore[operator]  # an int, as it is a key
            width, height = height, width
    return Film(np.ascontiguousarray(pixels), FileFacts(width, height, bits, mode, kind))
