"""DICOM headers: opened so that a hostile file costs little, and read into one record.

Never follows a reference to another file (CVE-2026-32711 was such a path in a DICOMDIR), and turns pydicom's every
error, among them the RecursionError of deeply nested sequences (pydicom issue 2330), into a FilmError.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hilum.errors import FilmError, HilumError
from hilum.image.film import MAX_FILE_BYTES
from hilum.image.kinds import HEAD_BYTES, kind_of

DAMAGED = "the DICOM object is damaged or cut off"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LONGEST_TEXT = 256
HEADER_KEYWORDS = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate",
    "Modality", "Manufacturer", "ManufacturerModelName", "InstitutionName", "StationName", "PatientID",
    "PatientBirthDate", "PatientSex", "PatientAge", "BodyPartExamined", "ViewPosition", "ViewCodeSequence",
    "PatientPosition", "PresentationIntentType", "PresentationLUTShape", "BurnedInAnnotation",
    "PhotometricInterpretation", "Rows", "Columns", "BitsStored", "NumberOfFrames",
]  # fmt: skip
# PS3.3 C.8.1.2 and C.8.11.5, and what stands there in practice, in capitals without blanks, `_` and `-`.
_VIEWS = {
    "PA": "PA", "POSTEROANTERIOR": "PA", "POSTERIORANTERIOR": "PA", "PAERECT": "PA",
    "AP": "AP", "ANTEROPOSTERIOR": "AP", "ANTERIORPOSTERIOR": "AP", "APERECT": "AP", "APPORTABLE": "AP",
    "APSUPINE": "AP supine", "SUPINEAP": "AP supine",
    "LL": "lateral", "RL": "lateral", "L": "lateral", "LAT": "lateral", "LATERAL": "lateral",
    "LEFTLATERAL": "lateral", "RIGHTLATERAL": "lateral", "LATL": "lateral", "LATR": "lateral",
    "LLD": "lateral decubitus", "RLD": "lateral decubitus",
    "LLO": "oblique", "RLO": "oblique", "LAO": "oblique", "RAO": "oblique", "LPO": "oblique", "RPO": "oblique",
}  # fmt: skip
# PS3.3 C.7.3.1.1.2: how the patient lies in a scanner, which says nothing about the view.
_SCANNER_POSITIONS = re.compile(r"(HF|FF|LF|RF|AF|PF)(P|S|DR|DL)|SITTING|ERECT|SUPINE|PRONE")
_CHEST = ("CHEST", "THORAX", "LUNG")
_RADIOGRAPHS = ("CR", "DX", "DR", "RG")


@dataclass(frozen=True)
class DicomHeader:
    """What a DICOM object says about its film. What it does not say, or says in a way that makes no sense, is None.

    view: PA, AP, AP supine, lateral, lateral decubitus or oblique; view_raw: what stands in the object.
    age_years: of PatientAge, else of the dates of birth and study. sex: F or M. study_date: YYYY-MM-DD.
    bits: BitsStored. burned_in_annotation: whether the object says that text stands in its pixels.
    """

    patient_id: str | None = None
    age_years: float | None = None
    sex: str | None = None
    view: str | None = None
    view_raw: str | None = None
    modality: str | None = None
    body_part: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    institution: str | None = None
    station: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    sop_class_uid: str | None = None
    study_date: str | None = None
    photometric: str | None = None
    rows: int | None = None
    columns: int | None = None
    bits: int | None = None
    frames: int | None = None
    presentation_intent: str | None = None
    presentation_lut_shape: str | None = None
    burned_in_annotation: bool | None = None


def read_header(source: Path | bytes) -> DicomHeader:
    """The header of a DICOM file or of its bytes; the pixels are not read.

    FilmError for what is no DICOM object, or too damaged to be read.
    """
    where = str(source) if isinstance(source, Path) else ""
    try:
        return header_of(_open_head(source))
    except FilmError as error:
        raise FilmError(error.what, where=error.where or where, next_step=error.next_step) from None


def header_of(dataset: pydicom.Dataset) -> DicomHeader:
    """The record of an opened object."""
    view_raw, view = _view(dataset)
    sex = (text_of(dataset, "PatientSex") or "").upper()
    burned_in = (text_of(dataset, "BurnedInAnnotation") or "").upper()
    return DicomHeader(
        patient_id=text_of(dataset, "PatientID"),
        age_years=_age_years(dataset),
        sex=sex if sex in ("F", "M") else None,
        view=view,
        view_raw=view_raw,
        modality=_upper(text_of(dataset, "Modality")),
        body_part=_upper(text_of(dataset, "BodyPartExamined")),
        manufacturer=text_of(dataset, "Manufacturer"),
        model=text_of(dataset, "ManufacturerModelName"),
        institution=text_of(dataset, "InstitutionName"),
        station=text_of(dataset, "StationName"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        series_uid=text_of(dataset, "SeriesInstanceUID"),
        sop_uid=text_of(dataset, "SOPInstanceUID"),
        sop_class_uid=text_of(dataset, "SOPClassUID"),
        study_date=_iso(_date(dataset, "StudyDate")),
        photometric=_upper(text_of(dataset, "PhotometricInterpretation")),
        rows=number_of(dataset, "Rows"),
        columns=number_of(dataset, "Columns"),
        bits=number_of(dataset, "BitsStored"),
        frames=number_of(dataset, "NumberOfFrames"),
        presentation_intent=_upper(text_of(dataset, "PresentationIntentType")),
        presentation_lut_shape=_upper(text_of(dataset, "PresentationLUTShape")),
        burned_in_annotation={"YES": True, "NO": False}.get(burned_in),
    )


def why_not_a_chest_film(header: DicomHeader) -> str | None:
    """Why this object should not be taken for a film of the chest, by what it says about itself, or None.

    Decoding does not ask this; whoever reads a collection or predicts shows the reason and leaves the film out.
    What an object does not say is no reason: see `notes`.

    >>> why_not_a_chest_film(DicomHeader(modality="DX", body_part="RIBCAGE", view="AP"))
    "its body part is 'RIBCAGE', not the chest"
    >>> why_not_a_chest_film(DicomHeader(modality="DX")) is None
    True
    """
    if header.modality is not None and header.modality not in _RADIOGRAPHS:
        return f"its modality is {header.modality!r}, not a radiograph ({', '.join(_RADIOGRAPHS)})"
    if header.body_part is not None and not any(part in header.body_part for part in _CHEST):
        return f"its body part is {header.body_part!r}, not the chest"
    if header.view_raw is not None and header.view is None:
        return f"its position {header.view_raw!r} is no known view"
    return None


def notes(header: DicomHeader) -> list[str]:
    """What a careful reader of this object should know, though the film may be used.

    >>> notes(DicomHeader(modality="DX", body_part="CHEST", view="PA", view_raw="PA", frames=1))
    []
    """
    found = []
    if header.modality is None:
        found.append("does not say its modality")
    if header.body_part is None:
        found.append("does not say its body part")
    if header.view_raw is None:
        found.append("does not say its view")
    if header.presentation_intent == "FOR PROCESSING":
        found.append("is raw (FOR PROCESSING), not made for viewing: its contrast differs from clinical films")
    if (header.photometric, header.presentation_lut_shape) in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        found.append(
            f"contradicts itself on which end is white ({header.photometric}, {header.presentation_lut_shape}); "
            "the photometric interpretation was followed"
        )
    if header.burned_in_annotation:
        found.append("has text burned into its pixels")
    return found


def open_object(data: bytes, keywords: list[str], *, pixels: bool) -> pydicom.Dataset:
    """The elements named, of a DICOM object in memory, with a transfer syntax in its file meta information.

    Only the elements named are kept, so that junk is skipped, not parsed. A deflated object is inflated to at most
    512 MiB. FilmError for whatever cannot be read.
    """
    data = _inflated(data)
    forced = data[128:132] != b"DICM"  # `kind_of` has judged it plausible
    with broken_as_film_error():
        dataset = pydicom.dcmread(
            io.BytesIO(data), force=forced, stop_before_pixels=not pixels, specific_tags=list(keywords)
        )
        _state_transfer_syntax(dataset)
    return dataset


@contextmanager
def broken_as_film_error() -> Iterator[None]:
    """Every error of pydicom and its decoders becomes a FilmError, and their warnings are not shown.

    On broken objects they raise nearly every kind of error; and they warn of what does not conform, where what matters
    is checked here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HilumError:
        raise
    except RecursionError:
        raise FilmError("the DICOM object nests its sequences too deeply") from None
    except MemoryError:
        raise FilmError("there is not enough memory to decode this film") from None
    except Exception as error:
        reason = f"{type(error).__name__} {error}".split("\n")[0][:200]
        raise FilmError(f"{DAMAGED}: {reason}", next_step="Copy it again.") from None


def value_of(dataset: pydicom.Dataset, keyword: str) -> Any:
    """An element's value, or None where it is absent, empty or cannot be understood."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = dataset.get(keyword)
            return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value
    except Exception:  # values are parsed on access, and broken ones raise nearly every kind of error
        return None


def text_of(dataset: pydicom.Dataset, keyword: str) -> str | None:
    """A text without control characters and blanks around it; the first of several; None where it is empty."""
    value = value_of(dataset, keyword)
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0]
    if value is None or isinstance(value, bytes):
        return None
    text = "".join(sign for sign in str(value) if sign.isprintable()).strip()
    return text[:_LONGEST_TEXT] or None


def number_of(dataset: pydicom.Dataset, keyword: str) -> int | None:
    """A whole number, whatever its value representation; None where there is none."""
    try:
        return int(value_of(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return None


def _open_head(source: Path | bytes) -> pydicom.Dataset:
    if isinstance(source, Path):
        from hilum.image.decode import read_bytes

        source = read_bytes(source)
    if kind_of(source[:HEAD_BYTES]) != "dicom":
        raise FilmError("this is no DICOM file")
    return open_object(source, HEADER_KEYWORDS, pixels=False)


def _inflated(data: bytes) -> bytes:
    """A deflated object (PS3.5 A.5) as an explicit little endian one; any other as it is.

    pydicom inflates without a limit, so that a file of a megabyte can ask for a gigabyte.
    """
    if data[128:132] != b"DICM" or _DEFLATED not in data[132:1024]:
        return data
    if data[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        raise FilmError(f"{DAMAGED}: the file meta information has no length")
    end = 144 + int.from_bytes(data[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(data[end:], MAX_FILE_BYTES)
    except zlib.error as error:
        raise FilmError(f"{DAMAGED}: {error}", next_step="Copy it again.") from None
    if inflater.unconsumed_tail:
        raise FilmError(f"the DICOM object inflates to more than {MAX_FILE_BYTES // 2**20} MiB")
    # A UID is padded with zeros, so the length of the element stays.
    plain = ExplicitVRLittleEndian.encode().ljust(len(_DEFLATED), b"\0")
    return data[:end].replace(_DEFLATED, plain) + body


def _state_transfer_syntax(dataset: pydicom.Dataset) -> None:
    """Objects without file meta information are uncompressed, in the encoding that pydicom found in them."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain


def _view(dataset: pydicom.Dataset) -> tuple[str | None, str | None]:
    """(what stands there, its name here). ViewPosition, else the view code, else a projection in PatientPosition."""
    raw = text_of(dataset, "ViewPosition") or _view_code(dataset)
    if raw is None:
        # Converters of public collections (NIH among them) write the view into PatientPosition.
        raw = text_of(dataset, "PatientPosition")
        if raw is not None and _SCANNER_POSITIONS.fullmatch(raw.upper()):
            raw = None
    if raw is None:
        return None, None
    return raw, _VIEWS.get(re.sub(r"[\s_-]+|PROJECTION|VIEW", "", raw.upper()))


def _view_code(dataset: pydicom.Dataset) -> str | None:
    items = value_of(dataset, "ViewCodeSequence")
    return text_of(items[0], "CodeMeaning") if isinstance(items, pydicom.Sequence) and items else None


def _age_years(dataset: pydicom.Dataset) -> float | None:
    """PS3.5 table 6.2-1, AS: nnnD, nnnW, nnnM or nnnY; a bare number, which many converters write, is years."""
    found = re.fullmatch(r"(\d{1,3})([DWMY]?)", (text_of(dataset, "PatientAge") or "").upper())
    if found:
        years = int(found[1]) / {"D": 365.25, "W": 365.25 / 7, "M": 12.0}.get(found[2], 1.0)
    else:
        birth, study = _date(dataset, "PatientBirthDate"), _date(dataset, "StudyDate")
        if birth is None or study is None:
            return None
        years = (study - birth).days / 365.25
    return round(years, 2) if 0 <= years <= 130 else None


def _date(dataset: pydicom.Dataset, keyword: str) -> date | None:
    text = (text_of(dataset, keyword) or "").replace(".", "")
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _upper(text: str | None) -> str | None:
    return text.upper() if text else None
