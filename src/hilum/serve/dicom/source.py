"""What an answer takes over from the object that it answers: the patient, the study, and what to refer to."""

from __future__ import annotations

import uuid
from io import BytesIO
from typing import Any

import pydicom
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from hilum.errors import FilmError
from hilum.image.dicom import broken_as_film_error, open_object

# A name-based UUID (RFC 9562 5.5) of what an answer is about, so that the same answer has the same UID on any machine.
_NAMESPACE = uuid.UUID("8f1c1f0e-5b0a-5d0b-9a63-0d6f7a3f2c11")
# Type 2 of the patient and study modules (PS3.3 C.7.1.1, C.7.2.1): they must stand in an answer, if empty.
_OWED = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_MORE = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "PatientOrientation", "BurnedInAnnotation", "PatientAge", "StudyDescription", "Rows", "Columns",
    "IssuerOfPatientID",
)  # fmt: skip
# Of the file meta information, which has under 1 KiB where nobody means harm.
_MOST_META = 2**16


def meta_of(data: bytes) -> tuple[str, int]:
    """The transfer syntax that a file says it has, "" for none, and where its data set begins (PS3.10 7.1).

    Nothing else is read, and nothing inflated. FilmError for what is no DICOM file.
    """
    if data[128:132] != b"DICM":
        raise FilmError("this is no DICOM file")
    head = BytesIO(data[132 : 132 + _MOST_META])
    with broken_as_film_error():
        meta = read_dataset(
            head, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag.group != 2
        )
        return str(meta.get("TransferSyntaxUID", "")), 132 + head.tell()


def source_of(data: bytes) -> pydicom.Dataset:
    """The elements of a received object that its answers need; those that must be there and are not are empty.

    FilmError where it cannot be read. A value that breaks its own representation is left out, as it would make the
    answer one that other nodes refuse.
    """
    opened = open_object(data, [*_OWED, *_MORE], pixels=False)
    source = pydicom.Dataset()
    source.file_meta = opened.file_meta
    with broken_as_film_error():
        for keyword in (*_OWED, *_MORE):
            value = _checked(opened, keyword)
            if value is not None or keyword in _OWED:
                setattr(source, keyword, "" if value is None else value)
    if "SpecificCharacterSet" not in source:
        source.SpecificCharacterSet = "ISO_IR 192"
    return source


def uid_of(*about: str) -> UID:
    """The UID of what these words are about (PS3.5 B.2).

    >>> uid_of("1.2.3", "report") == uid_of("1.2.3", "report") != uid_of("1.2.3", "capture")
    True
    """
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(about)).int}")


def written(dataset: pydicom.Dataset) -> bytes:
    """A DICOM object as the bytes of its file."""
    out = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return bytes(out.getvalue())


def _checked(opened: pydicom.Dataset, keyword: str) -> Any:
    """A value, or None where it is absent, empty, or no value of its representation (PS3.5 6.2)."""
    try:
        value = opened.get(keyword)
        if value is None or value == "":
            return None
        pydicom.DataElement(
            keyword, pydicom.datadict.dictionary_VR(keyword), value, validation_mode=pydicom.config.RAISE
        )
    except Exception:
        return None
    return value
