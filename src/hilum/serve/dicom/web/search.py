"""QIDO-RS (PS3.18 10.6): studies, series and instances that were received or made here, by what the index knows.

The index holds UIDs, classes, modality, study date and the patient's number as the store keeps it: a keyed hash, which
can be matched by who knows the number and not be read, unless the server was started with --identify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag

from hilum.serve.dicom.index import JOINED, KEPT, UID
from hilum.serve.dicom.wanted import DATES
from hilum.serve.dicom.web.json import Attributes, attribute, attributes
from hilum.serve.errors import BadRequestError
from hilum.serve.store.tables import dicom_instances

Level = Literal["study", "series", "instance"]
LEVELS: Final[tuple[Level, ...]] = ("study", "series", "instance")
# What each level can be asked for by, beside what those above it can.
KEYS: Final[Mapping[Level, tuple[str, ...]]] = {
    "study": ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "PatientID"),
    "series": ("SeriesInstanceUID", "Modality"),
    "instance": ("SOPInstanceUID", "SOPClassUID"),
}
MOST: Final = 1000
_OTHER = ("limit", "offset", "includefield", "fuzzymatching", "accept")
_MOST_UIDS = 100
_HERE = dicom_instances.c
_UIDS: Mapping[str, sa.Column[Any]] = {
    "StudyInstanceUID": _HERE.study_uid,
    "SeriesInstanceUID": _HERE.series_uid,
    "SOPInstanceUID": _HERE.instance_uid,
    "SOPClassUID": _HERE.class_uid,
}


@dataclass(frozen=True)
class Asked:
    """What a query asks for. matching: by keyword, as it stands in the query. fuzzy: whether it asks for matching of
    names that sound alike, which is not done."""

    level: Level
    matching: Mapping[str, str]
    limit: int = MOST
    offset: int = 0
    fuzzy: bool = False


@dataclass(frozen=True)
class Answered:
    """What was found. left: how many more there are after these."""

    found: Sequence[Attributes]
    left: int


def asked_of(level: Level, query: Sequence[tuple[str, str]], **path: str) -> Asked:
    """The question of a query's parameters; path: UIDs that stand in the address, by keyword, "" for none.

    A key is a keyword or a tag. BadRequestError for one that is not matched here, as leaving it out would find more
    than was asked for; a value that matches everything, as `*`, may stand under any key.

    >>> asked_of("study", [("00080020", "20240101-"), ("PatientName", "*"), ("limit", "5")]).matching
    {'StudyDate': '20240101-'}
    """
    known = [key for each in LEVELS[: LEVELS.index(level) + 1] for key in KEYS[each]]
    matching = {keyword: uid for keyword, uid in path.items() if uid}
    for name, value in query:
        if name in _OTHER or value.strip("* ") == "":
            continue
        keyword = _keyword_of(name)
        if keyword not in known or keyword in matching:
            raise BadRequestError(
                f"{keyword or 'a parameter of the query'} is not matched here, or stands twice",
                next_step=f"Ask by: {', '.join(known)}.",
            )
        matching[keyword] = value
    given = dict(query)
    limit, offset = _number(given, "limit", MOST), _number(given, "offset", 0)
    return Asked(level, matching, min(limit, MOST), offset, given.get("fuzzymatching") == "true")


def searched(
    connection: sa.Connection, asked: Asked, base: str, patient_key: Callable[[str], str], *, identify: bool
) -> Answered:
    """What is found, the newest first. base: the address of this service. patient_key: how the store keeps a number.

    identify: whether that is the number itself, which may then be told.
    """
    where = _conditions(asked.matching, patient_key)
    grouped = {"study": [_HERE.study_uid], "series": [_HERE.study_uid, _HERE.series_uid]}.get(asked.level)
    group = grouped or [_HERE.study_uid, _HERE.series_uid, _HERE.instance_uid]
    question = (
        sa.select(
            *group,
            *(sa.func.max(_HERE[name]).label(name) for name in _OF_GROUP if name not in {each.name for each in group}),
            sa.func.max(sa.case((KEPT, 1), else_=0)).label("kept"),
            sa.func.count().label("instances"),
            sa.func.count(_HERE.series_uid.distinct()).label("series"),
        )
        .select_from(JOINED)
        .where(*where)
        .group_by(*group)
    )
    total = connection.scalar(sa.select(sa.func.count()).select_from(question.subquery())) or 0
    newest = sa.func.max(_HERE.found_at).desc()
    rows = connection.execute(question.order_by(newest, *group).limit(asked.limit).offset(asked.offset)).all()
    studies = [row.study_uid for row in rows]
    modalities = _modalities(connection, studies) if asked.level == "study" else {}
    found = [
        _study(row, base, modalities.get(row.study_uid, []), identify=identify)
        if asked.level == "study"
        else (_series if asked.level == "series" else _instance)(row, base)
        for row in rows
    ]
    return Answered(found, max(0, total - asked.offset - len(found)))


_OF_GROUP = ("study_date", "patient_key", "series_uid", "instance_uid", "class_uid", "syntax_uid", "modality", "height",
             "width")  # fmt: skip


def _conditions(matching: Mapping[str, str], patient_key: Callable[[str], str]) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    for keyword, value in matching.items():
        if keyword in _UIDS:
            uids = [uid.strip() for uid in value.replace("\\", ",").split(",")]
            if len(uids) > _MOST_UIDS or not all(UID.fullmatch(uid) for uid in uids):
                raise BadRequestError(f"{keyword}: up to {_MOST_UIDS} UIDs are matched, without wildcards")
            found.append(_UIDS[keyword].in_(uids))
        elif keyword == "StudyDate":
            found += _days(value)
        elif keyword == "Modality":
            found.append(_HERE.modality == _plain(keyword, value))
        elif keyword == "ModalitiesInStudy":
            having = sa.select(_HERE.study_uid).where(_HERE.modality == _plain(keyword, value))
            found.append(_HERE.study_uid.in_(having))
        else:
            found.append(_HERE.patient_key == patient_key(_plain(keyword, value)))
    return found


def _days(value: str) -> list[sa.ColumnElement[bool]]:
    if not DATES.fullmatch(value):
        raise BadRequestError("StudyDate: this is no range of dates", next_step="Write it as 20240101-20241231.")
    first, dash, last = value.partition("-")
    if not dash:
        return [_HERE.study_date == first]
    return [*([_HERE.study_date >= first] if first else []), *([_HERE.study_date <= last] if last else [])]


def _plain(keyword: str, value: str) -> str:
    if any(sign in value for sign in "*?\\\x00"):
        raise BadRequestError(f"{keyword} is matched whole, without wildcards")
    return value


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise BadRequestError(f"{name} is no whole number")
    return int(text)


def _keyword_of(name: str) -> str:
    """The keyword of a keyword or tag; "" where there is none of the standard.

    >>> _keyword_of("0020000D"), _keyword_of("StudyDate"), _keyword_of("nonsense")
    ('StudyInstanceUID', 'StudyDate', '')
    """
    try:
        return keyword_for_tag(Tag(name))
    except Exception:  # of nearly every kind, by what is wrong with it
        return ""


def _modalities(connection: sa.Connection, studies: Sequence[str]) -> dict[str, list[str]]:
    question = sa.select(_HERE.study_uid, _HERE.modality).where(_HERE.study_uid.in_(studies)).distinct()
    found: dict[str, list[str]] = {}
    for study, modality in connection.execute(question.order_by(_HERE.modality)):
        found.setdefault(study, []).append(modality)
    return found


def _study(row: Any, base: str, modalities: Sequence[str | None], *, identify: bool) -> Attributes:
    return {
        **attributes(StudyDate=row.study_date, InstanceAvailability=_availability(row)),
        **attribute("ModalitiesInStudy", *modalities),
        **attributes(
            RetrieveURL=f"{base}/studies/{row.study_uid}",
            PatientID=row.patient_key if identify else None,
            StudyInstanceUID=row.study_uid,
            NumberOfStudyRelatedSeries=row.series,
            NumberOfStudyRelatedInstances=row.instances,
        ),
    }


def _series(row: Any, base: str) -> Attributes:
    return attributes(
        InstanceAvailability=_availability(row),
        Modality=row.modality,
        RetrieveURL=f"{base}/studies/{row.study_uid}/series/{row.series_uid}",
        StudyInstanceUID=row.study_uid,
        SeriesInstanceUID=row.series_uid,
        NumberOfSeriesRelatedInstances=row.instances,
    )


def _instance(row: Any, base: str) -> Attributes:
    return attributes(
        SOPClassUID=row.class_uid,
        SOPInstanceUID=row.instance_uid,
        InstanceAvailability=_availability(row),
        Modality=row.modality,
        RetrieveURL=f"{base}/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.instance_uid}",
        AvailableTransferSyntaxUID=row.syntax_uid,
        StudyInstanceUID=row.study_uid,
        SeriesInstanceUID=row.series_uid,
        Rows=row.height,
        Columns=row.width,
    )


def _availability(row: Any) -> str:
    """PS3.3 C.4.23.1.1."""
    return "ONLINE" if row.kept else "UNAVAILABLE"
