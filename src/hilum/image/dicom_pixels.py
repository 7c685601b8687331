"""From a DICOM object to a grey film: stored values, modality, values of interest, photometric interpretation.

The chain is that of PS3.4 N.2. Each step of it maps one value to one value, so it is computed once for each value that
can occur and then looked up: exact, fast, and of bounded memory.
"""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from hilum.errors import FilmError
from hilum.image import workers
from hilum.image.codestream import check_scans, jpeg2000_size, jpeg_frame
from hilum.image.dicom import (
    DAMAGED,
    HEADER_KEYWORDS,
    broken_as_film_error,
    header_of,
    number_of,
    open_object,
    text_of,
    value_of,
)
from hilum.image.film import FileFacts, Film, check_size, full_scale, luminance, to_eight_bits
from hilum.image.jpeg import jpeg_grey

_PIXEL_KEYWORDS = [
    *HEADER_KEYWORDS,
    "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData",
]  # fmt: skip
_GREY = ("MONOCHROME1", "MONOCHROME2")
# Process 1 and processes 2 and 4; the latter may hold 12 bits, and hold 8 nearly always.
_EIGHT_BIT_JPEG = JPEGTransferSyntaxes[:2]
_GDCM = [*JPEGTransferSyntaxes[2:], *JPEGLSTransferSyntaxes]
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")


def decode_dicom(data: bytes, at_least_px: int | None = None) -> Film:
    """The film of a DICOM object in memory; black is 0, also where the object is MONOCHROME1.

    at_least_px: as in `hilum.image.decode.decode`; of use where the object holds a grey JPEG.
    FilmError for objects without pixels, of several frames, of more than 16 bits, of pixels that contradict the header,
    and for damaged ones.
    """
    dataset = open_object(data, _PIXEL_KEYWORDS, pixels=True)
    with broken_as_film_error(), np.errstate(all="ignore"):
        facts = _checked_facts(dataset)
        if _transfer_syntax(dataset) in _GDCM and not workers.in_a_worker():
            return workers.alone(decode_dicom, data)
        stored = _stored_values(dataset, facts, at_least_px)
        if facts.mode in _GREY:
            pixels = _grey(dataset, stored, facts)
        else:
            colour = apply_color_lut(stored, dataset) if facts.mode == "PALETTE COLOR" else stored
            pixels = to_eight_bits(luminance(colour))
        return Film(np.ascontiguousarray(pixels), facts, header_of(dataset))


def _checked_facts(dataset: pydicom.Dataset) -> FileFacts:
    """What the header says of the pixels; refused with FilmError before they are touched where that is no film."""
    modality = text_of(dataset, "Modality")
    if "PixelData" not in dataset:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise FilmError("the DICOM object holds floating point values, not a film")
        if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            raise FilmError("this is a DICOMDIR, an index of other files; it is not followed")
        raise FilmError(f"the DICOM object holds no pixels{f' (modality {modality})' if modality else ''}")
    frames = number_of(dataset, "NumberOfFrames") or 1
    if frames > 1:
        raise FilmError(
            f"the DICOM object holds {frames} frames; one film is read",
            next_step="Export the frame that is the film as an object of its own.",
        )
    rows, columns = number_of(dataset, "Rows"), number_of(dataset, "Columns")
    if rows is None or columns is None:
        raise FilmError(f"{DAMAGED}: it does not say how many rows and columns it has")
    check_size(columns, rows)
    allocated = number_of(dataset, "BitsAllocated")
    bits = number_of(dataset, "BitsStored") or allocated
    if allocated not in (8, 16) or bits is None or not 1 <= bits <= allocated:
        raise FilmError(f"the DICOM object has {bits} of {allocated} bits per value; a film has 8 to 16")
    mode = (text_of(dataset, "PhotometricInterpretation") or "").upper()
    samples = number_of(dataset, "SamplesPerPixel") or 1
    if mode not in _GREY + _COLOUR or samples != (3 if mode in _COLOUR and mode != "PALETTE COLOR" else 1):
        raise FilmError(f"the DICOM object's photometric interpretation {mode!r} of {samples} channels is not read")
    high = number_of(dataset, "HighBit")
    if high is not None and high >= bits and not _transfer_syntax(dataset).is_compressed:
        raise FilmError(f"the {bits} stored bits end at bit {high}; only values in the lowest bits are read")
    return FileFacts(columns, rows, bits, mode, "dicom")


def _transfer_syntax(dataset: pydicom.Dataset) -> UID:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_transfer_syntax:
        raise FilmError(f"the DICOM object's transfer syntax {str(syntax)[:64]!r} is not known")
    return syntax


def _stored_values(dataset: pydicom.Dataset, facts: FileFacts, at_least_px: int | None) -> np.ndarray:
    """(H, W) grey or palette values, or (H, W, 3) RGB; uint8, int8, uint16 or int16."""
    syntax = _transfer_syntax(dataset)
    if syntax.is_encapsulated:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        channels = 1 if facts.mode in _GREY or facts.mode == "PALETTE COLOR" else 3
        _check_codestream(frame, syntax, facts, channels)
        if syntax in _EIGHT_BIT_JPEG and facts.mode in _GREY and facts.bits == 8:
            header = jpeg_frame(frame)
            if header.bits == 8 and header.components == 1 and not number_of(dataset, "PixelRepresentation"):
                return jpeg_grey(frame, header, at_least_px)  # faster than pydicom's decoders, and whole or not at all
    values = pixel_array(dataset, raw=False, decoding_plugin=_decoder(syntax))
    expected = (facts.height, facts.width)
    if values.shape[:2] != expected or values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        raise FilmError(f"{DAMAGED}: its pixels are {values.shape} of {values.dtype}, not {expected}")
    return values


def _check_codestream(frame: bytes, syntax: UID, facts: FileFacts, channels: int) -> None:
    """Refuse a compressed picture of another size than the object's: decoders would believe it and take its memory."""
    stated = (facts.width, facts.height)
    if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        header = jpeg_frame(frame)
        found = (header.width, header.height)
        if header.bits > 8 and syntax in _EIGHT_BIT_JPEG and not _reads_twelve_bit_jpeg(syntax):
            raise FilmError(
                "the DICOM object holds a 12-bit JPEG, for which there is no free decoder here",
                next_step="Convert it with dcmdjpeg of DCMTK, or install pylibjpeg-libjpeg (GPL).",
            )
        if syntax in JPEGTransferSyntaxes:
            check_scans(frame)
    elif syntax in JPEG2000TransferSyntaxes:
        found = jpeg2000_size(frame)
    elif syntax == RLELossless:
        # Two bytes of run lengths make at most 128, so a frame far longer than the pixels is there to exhaust memory.
        most = 2 * facts.width * facts.height * channels * (2 if facts.bits > 8 else 1) + 1024
        if len(frame) > most:
            raise FilmError(f"{DAMAGED}: its run lengths are longer than its pixels")
        return
    else:
        raise FilmError(f"the DICOM object's compression ({syntax.name}) is not read")
    if found != stated:
        raise FilmError(f"{DAMAGED}: its header says {stated} pixels, the picture in it {found}")


def _decoder(syntax: UID) -> str:
    """The plugin of pydicom that decodes, so that it does not depend on what else is installed; "" is pydicom's choice.

    GDCM comes last: on some broken JPEGs it ends the whole process, so what only it decodes is decoded in another one.
    """
    if syntax in JPEG2000TransferSyntaxes or _reads_twelve_bit_jpeg(syntax):
        return "pylibjpeg"
    if syntax in _EIGHT_BIT_JPEG:
        return "pillow"
    return "gdcm" if syntax in _GDCM else ""


def _reads_twelve_bit_jpeg(syntax: UID) -> bool:
    """Whether the user has installed pylibjpeg-libjpeg, which is GPL and therefore no requirement of ours."""
    return syntax in _EIGHT_BIT_JPEG and "pylibjpeg" in get_decoder(syntax).available_plugins


def _grey(dataset: pydicom.Dataset, stored: np.ndarray, facts: FileFacts) -> np.ndarray:
    """uint8 of stored grey values: one table over all values that occur, looked up for each pixel."""
    low, high = int(stored.min()), int(stored.max())
    first = min(low, 0)
    places = stored.astype(np.int32) - first if first < 0 else stored
    values = np.arange(first, high + 1)
    padding = _padding(dataset, values)
    occurs = np.zeros(len(values), bool)
    occurs[places] = True
    occurs &= ~padding
    if not occurs.any():
        return np.zeros(stored.shape, np.uint8)
    shown = _shown(dataset, values, occurs, facts.bits)
    if facts.mode == "MONOCHROME1":
        shown = 1.0 - shown
    table = np.rint(shown * 255.0).astype(np.uint8)
    table[padding] = 0
    return table[places]


def _shown(dataset: pydicom.Dataset, values: np.ndarray, occurs: np.ndarray, bits: int) -> np.ndarray:
    """Each value's place between the object's darkest (0) and brightest (1), as float64 before any inversion.

    By the values-of-interest table, else the first window, where they leave any contrast. Else 8 unsigned bits are
    shown as they are, and deeper ones from the least to the greatest that occurs.
    """
    measured = _modality(dataset, values)
    for chosen in (_by_table(dataset, measured), _by_window(dataset, measured)):
        if chosen is not None and np.isfinite(chosen).all() and np.ptp(chosen[occurs]) > 1 / 255:
            return chosen
    if bits <= 8 and values[0] >= 0 and np.array_equal(measured, values):
        return values / max(float((1 << bits) - 1), float(values[-1]))
    low, high = float(measured[occurs].min()), float(measured[occurs].max())
    if not np.isfinite(low + high):
        raise FilmError(f"{DAMAGED}: its grey values are not finite")
    if high == low:
        return np.zeros(len(values))
    return np.clip((measured - low) / (high - low), 0.0, 1.0)


def _padding(dataset: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    """Which values stand for no film at all (PS3.3 C.7.5.1.1.2): collimated or outside a round detector."""
    one = number_of(dataset, "PixelPaddingValue")
    if one is None:
        return np.zeros(len(values), bool)
    other = number_of(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((one, one if other is None else other))
    return (values >= low) & (values <= high)


def _modality(dataset: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    """Stored values as the device measured them: by its table, else slope and intercept (PS3.3 C.11.1)."""
    table = _first_item(dataset, "ModalityLUTSequence")
    if table is not None:
        return _looked_up(dataset, table, values)
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    return values * (slope or 1.0) + (intercept or 0.0)


def _by_table(dataset: pydicom.Dataset, measured: np.ndarray) -> np.ndarray | None:
    table = _first_item(dataset, "VOILUTSequence")
    if table is None:
        return None
    found = _looked_up(dataset, table, np.rint(measured).astype(np.int64))
    # Descriptors often claim 16 bits for tables of 12.
    return found / full_scale(int(found.max()))


def _by_window(dataset: pydicom.Dataset, measured: np.ndarray) -> np.ndarray | None:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3: LINEAR (also where nothing is said), LINEAR_EXACT or SIGMOID."""
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    function = (text_of(dataset, "VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(-4.0 * (measured - centre) / width))
    if function == "LINEAR_EXACT":
        return np.clip((measured - centre) / width + 0.5, 0.0, 1.0)
    if width <= 1:
        return (measured > centre - 0.5).astype(float)
    return np.clip((measured - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _looked_up(dataset: pydicom.Dataset, item: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    """`values` through a LUT item: entries, first value mapped, bits (PS3.3 C.11.1.1.1); the ends hold beyond it."""
    entries, first = (int(number) for number in value_of(item, "LUTDescriptor")[:2])
    data = value_of(item, "LUTData")
    if isinstance(data, bytes):
        order = "<" if _transfer_syntax(dataset).is_little_endian else ">"
        table = np.frombuffer(data, order + "u2" if len(data) >= 2 * (entries or 65536) else "u1")
    else:
        table = np.asarray(data, dtype=np.int64) & 0xFFFF
    table = table[: entries or 65536]
    if table.size == 0:
        raise FilmError(f"{DAMAGED}: a look-up table is empty")
    return table[np.clip(values - first, 0, table.size - 1)].astype(float)


def _first_item(dataset: pydicom.Dataset, keyword: str) -> pydicom.Dataset | None:
    items = value_of(dataset, keyword)
    return items[0] if isinstance(items, pydicom.Sequence) else None


def _number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """The first of one or several decimal strings; None where it is absent or no finite number."""
    try:
        number = float(np.atleast_1d(np.asarray(value_of(dataset, keyword), dtype=float))[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None
