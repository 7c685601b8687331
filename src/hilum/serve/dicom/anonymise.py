"""A film without its patient: a new object of an allow-list of values, made from nothing that was sent as it is.

Named after PS3.15 Annex E, whose certification is not claimed. Nothing is copied: every value that is kept is one of a
list, a number that was checked, a keyed hash, or a shifted date; and the pixels are written anew, as hilum sees them,
in 8 bits, so that nothing hides in overlays, unused bits, or a compressed stream. Text in the picture itself stays in
it: it is looked for and flagged.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from pydicom.uid import UID, ExplicitVRLittleEndian

from hilum import __version__
from hilum.errors import FilmError, RequestError
from hilum.image.decode import decode
from hilum.image.dicom import DicomHeader, why_not_a_chest_film
from hilum.image.marks import SIDE_PX, marks_on, shrunk
from hilum.image.workers import alone
from hilum.serve.dicom.accepted import CAPTURE_CLASS, FILM_CLASSES
from hilum.serve.dicom.source import written

KEY_BYTES = 32
MOST_SHIFT_DAYS = 5 * 365
# Ages from here on are one (45 CFR 164.514(b)(2)(i)(C)).
OLDEST_YEARS = 90
VIEWS: Final[Mapping[str, str]] = {"PA": "PA", "AP": "AP", "AP supine": "AP SUPINE", "lateral": "LATERAL"}
# A maker's name is kept where it is known, because results differ by it; anything else there is not.
MAKERS: Final = (
    "AGFA", "CANON", "CARESTREAM", "DEL MEDICAL", "FUJIFILM", "GE HEALTHCARE", "GE MEDICAL SYSTEMS", "HITACHI",
    "HOLOGIC", "KODAK", "KONICA MINOLTA", "PHILIPS", "SAMSUNG", "SHIMADZU", "SIEMENS", "SWISSRAY", "TOSHIBA", "VAREX",
)  # fmt: skip
# What an anonymised object holds, and how each value comes about; documentation and tests read it.
KEPT: Final[Mapping[str, str]] = {
    "SOPClassUID": "one of those received, else Secondary Capture",
    "SOPInstanceUID": "keyed hash",
    "StudyInstanceUID": "keyed hash",
    "SeriesInstanceUID": "keyed hash",
    "PatientID": "keyed hash; of the study where there is none",
    "PatientName": "the same",
    "PatientBirthDate": "empty",
    "PatientSex": "F, M or empty",
    "PatientAge": f"whole years; {OLDEST_YEARS} from {OLDEST_YEARS} on; months below 1",
    "StudyDate": f"shifted back by 1 to {MOST_SHIFT_DAYS} days, the same for all of a patient",
    "StudyTime": "empty",
    "AccessionNumber": "empty",
    "StudyID": "empty",
    "ReferringPhysicianName": "empty",
    "Modality": "CR or DX, where the object says one of CR, DX, DR, RG",
    "BodyPartExamined": "CHEST, where the object says so",
    "ViewPosition": "PA, AP, AP SUPINE, LATERAL, where the object says so",
    "Manufacturer": "one of a list of makers, or empty",
    "PresentationIntentType": "FOR PRESENTATION or FOR PROCESSING, where the object says so",
    "SeriesNumber": "empty",
    "InstanceNumber": "empty",
    "PatientOrientation": "empty",
    "ImageType": "DERIVED, SECONDARY",
    "ConversionType": "WSD",
    "BurnedInAnnotation": "YES, where the object says so or marks are found near the edges; else absent",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "says how",
    "LongitudinalTemporalInformationModified": "MODIFIED, or REMOVED without a date",
    "SamplesPerPixel": "1",
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": "as the film",
    "Columns": "as the film",
    "BitsAllocated": "8",
    "BitsStored": "8",
    "HighBit": "7",
    "PixelRepresentation": "0",
    "PixelData": "the film in 8 bits, black is air, its window applied",
}


@dataclass(frozen=True)
class Anonymised:
    """A film without its patient. name: of its file. marked: whether marks, which may be text, were found on it."""

    name: str
    data: bytes
    marked: bool


def read_key(path: Path) -> bytes:
    """The key of the hashes: that of a file, which is made where there is none, readable by its owner only.

    RequestError for a file that is no key. Whoever has it can tell whether a patient number is among the films.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
    except FileExistsError:
        pass
    except OSError as error:
        raise RequestError(f"the key cannot be written: {error.strerror}", where=str(path)) from None
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise RequestError("this is no key", where=str(path), next_step="Name another file with --key.")
    return key


def name_of(key: bytes, instance_uid: str) -> str:
    """The file's name of an object, without its suffix: a keyed hash, so that it is known before it is fetched."""
    return _keyed(key, "instance", instance_uid).hex


def anonymised(data: bytes, header: DicomHeader, key: bytes) -> Anonymised:
    """The film of an object's bytes without its patient. header: as `read_header` read it.

    FilmError, in words that hold nothing of the object, where it is no film of the chest, or cannot be read.

    >>> "PatientName" in KEPT and "PatientComments" not in KEPT
    True
    """
    if why_not_a_chest_film(header) is not None or header.view not in (*VIEWS, None):
        raise FilmError("by its header it is no film of the chest, or of a view that is not kept")
    if header.sop_uid is None or header.study_uid is None:
        raise FilmError("it has no UID of its own, or no study")
    try:
        film = alone(decode, data)
    except FilmError:
        raise FilmError("its picture cannot be read") from None
    marked = bool(len(marks_on(shrunk(film.pixels, SIDE_PX)).box))
    made = _film(header, film.pixels, key)
    if marked or header.burned_in_annotation:
        made.BurnedInAnnotation = "YES"
    return Anonymised(name_of(key, header.sop_uid), written(made), marked)


def shifted(day: str | None, key: bytes, patient: str) -> str:
    """A date YYYY-MM-DD as DICOM has it, moved by the patient's own number of days; "" for none.

    >>> first, later = (shifted(day, b"key", "P1") for day in ("2024-03-05", "2024-03-15"))
    >>> int(later) - int(first) in (10, 10 + 69, 10 + 70, 10 + 72)          # ten days, perhaps of two months
    True
    """
    if day is None:
        return ""
    days = 1 + _keyed(key, "days", patient).int % MOST_SHIFT_DAYS
    moved = date.fromisoformat(day).toordinal() - days
    return "" if moved < 1 else (date.min + timedelta(days=moved - 1)).strftime("%Y%m%d")


def _film(header: DicomHeader, pixels: np.ndarray, key: bytes) -> pydicom.Dataset:
    patient = header.patient_id or f"of study {header.study_uid}"
    number = _keyed(key, "patient", patient).hex[:16]
    day = shifted(header.study_date, key, patient)
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, object] = dict.fromkeys(
        (
            "PatientBirthDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
            "ReferringPhysicianName",
            "SeriesNumber",
            "InstanceNumber",
            "PatientOrientation",
        ),
        "",
    )
    values |= {
        "SOPClassUID": header.sop_class_uid if header.sop_class_uid in FILM_CLASSES else CAPTURE_CLASS,
        "SOPInstanceUID": _uid(key, "instance", str(header.sop_uid)),
        "StudyInstanceUID": _uid(key, "study", str(header.study_uid)),
        "SeriesInstanceUID": _uid(key, "series", header.series_uid or str(header.study_uid)),
        "PatientID": number,
        "PatientName": number,
        "PatientSex": header.sex or "",
        "StudyDate": day,
        "Manufacturer": _maker(header.manufacturer),
        "ImageType": ["DERIVED", "SECONDARY"],
        "ConversionType": "WSD",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": f"hilum {__version__}: allow-list, keyed hashes, shifted dates",
        "LongitudinalTemporalInformationModified": "MODIFIED" if day else "REMOVED",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    if header.modality is not None:
        values["Modality"] = "CR" if header.modality == "CR" else "DX"
    if header.age_years is not None:
        values["PatientAge"] = _age(header.age_years)
    if header.body_part is not None:  # `why_not_a_chest_film` refuses others
        values["BodyPartExamined"] = "CHEST"
    if header.view is not None:
        values["ViewPosition"] = VIEWS[header.view]
    if header.presentation_intent in ("FOR PRESENTATION", "FOR PROCESSING"):
        values["PresentationIntentType"] = header.presentation_intent
    for keyword, value in values.items():
        setattr(made, keyword, value)
    content = np.ascontiguousarray(pixels).tobytes()
    made.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
    return made


def _age(years: float) -> str:
    """PS3.5 table 6.2-1, AS.

    >>> _age(0.5), _age(64.9), _age(101)
    ('006M', '064Y', '090Y')
    """
    return f"{int(years * 12):03d}M" if years < 1 else f"{min(int(years), OLDEST_YEARS):03d}Y"


def _maker(told: str | None) -> str:
    """
    >>> _maker("Siemens Healthineers"), _maker("Dr. Doe's own"), _maker(None)
    ('SIEMENS', '', '')
    """
    upper = (told or "").upper()
    return next((maker for maker in MAKERS if upper.startswith(maker)), "")


def _keyed(key: bytes, what: str, text: str) -> uuid.UUID:
    return uuid.UUID(bytes=hmac.new(key, f"{what}/{text}".encode(), hashlib.sha256).digest()[:16])


def _uid(key: bytes, what: str, text: str) -> UID:
    return UID(f"2.25.{_keyed(key, what, text).int}")
