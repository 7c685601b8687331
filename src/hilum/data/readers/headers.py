"""What DICOM files among the films say about themselves, filled into a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hilum.data.readers.common import DICOM_SUFFIXES, LeftOut
from hilum.errors import FilmError
from hilum.image.dicom import DicomHeader, notes, read_header, why_not_a_chest_film
from hilum.image.kinds import HEAD_BYTES, kind_of
from hilum.image.workers import map_films

# Manifest column: the header's field. Those that the reader knows already are not overwritten.
_FILLED = {"view": "view", "sex": "sex", "age_years": "age_years"}
_MORE = ("modality", "body_part", "manufacturer", "model", "institution", "study_date")
_FEW = 500  # below it starting processes takes longer than reading headers in this one


def is_dicom(path: Path) -> bool:
    """Whether a file's content is DICOM, whatever its name; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return kind_of(file.read(HEAD_BYTES)) == "dicom"
    except (OSError, FilmError):
        return False


def may_be_dicom(name: str) -> bool:
    """By a name of a film: DICOM's suffixes, or none, or a number as DICOM's unique names have.

    >>> may_be_dicom("a.dcm"), may_be_dicom("1.2.840.113"), may_be_dicom("a.png")
    (True, True, False)
    """
    suffix = Path(name).suffix.lower()
    return suffix in DICOM_SUFFIXES or not suffix or suffix[1:].isdigit()


def fill_from_headers(
    frame: pd.DataFrame, source: str, *, patients: bool = True, by_name: bool = True
) -> tuple[pd.DataFrame, LeftOut]:
    """Rows of a reader, where those of DICOM files gain what their headers tell and the rows do not.

    Which rows are of DICOM files is told by their names, or with `by_name` false, all are.

    Filled: patient_id (with `patients`, as `source/PatientID`), view, sex, age_years; beyond the manifest's columns
    modality, body_part, manufacturer, model, institution, study_date and `header_notes`, what a careful reader of the
    film should know. Left out and counted by reason: objects without a picture, and those that say of themselves that
    they are no film of the chest. A file that cannot be read stays a row, as its error is told when films are scanned.
    """
    chosen = frame.index[[not by_name or may_be_dicom(path) for path in frame["path"]]]
    if not len(chosen):
        return frame, []
    headers = dict(zip(chosen, _headers([Path(path) for path in frame.loc[chosen, "path"]]), strict=True))
    why = {row: reason for row, header in headers.items() if header and (reason := _refused(header))}
    told = pd.DataFrame([_told(row, header, source) for row, header in headers.items() if header])
    frame = frame.copy()
    if not told.empty:
        told = told.set_index("_row").reindex(frame.index)
        told = told.astype({name: "Float64" if name == "age_years" else "string" for name in told.columns})
        for name in told.columns:
            if name != "patient_id" or patients:
                frame[name] = frame[name].where(frame[name].notna(), told[name]) if name in frame else told[name]
    reasons = Counter(f"DICOM objects: {reason}" for reason in why.values())
    return frame.drop(index=list(why)), sorted(reasons.items())


def _headers(paths: Sequence[Path]) -> list[DicomHeader | None]:
    """Headers in the order of the paths; None where one cannot be read."""
    headers: list[DicomHeader | None] = [None] * len(paths)
    for row, header in map_films(read_header, paths, workers=1 if len(paths) < _FEW else None):
        headers[row] = None if isinstance(header, FilmError) else header
    return headers


def _refused(header: DicomHeader) -> str | None:
    return "there is no picture in it" if header.rows is None else why_not_a_chest_film(header)


def _told(row: int, header: DicomHeader, source: str) -> dict[str, object]:
    told: dict[str, object] = {"_row": row}
    told["patient_id"] = f"{source}/{header.patient_id}" if header.patient_id else None
    told |= {column: getattr(header, field) for column, field in _FILLED.items()}
    told |= {column: getattr(header, column) for column in _MORE}
    told["header_notes"] = "; ".join(notes(header)) or None
    return told
