"""What DICOMweb finds: the objects that came and their answers, by UID; kept only where DICOMweb is offered.

An answer is in the patient's study, so its row takes patient and day from its object's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from hilum.image.dicom import DicomHeader
from hilum.serve.store.tables import dicom_instances, dicom_objects, films, now

UID: Final = re.compile(r"[0-9][0-9.]{0,63}")
_WAITS = ("received", "asked")
_HERE = dicom_instances.c
# Whether the bytes of a row lie here: of an object that waits, or whose film is kept, and of that object's answers.
KEPT: Final = sa.func.coalesce(
    sa.or_(films.c.kept, sa.and_(~_HERE.answer, dicom_objects.c.state.in_(_WAITS))), sa.false()
).label("kept")
JOINED: Final = dicom_instances.join(dicom_objects, dicom_objects.c.object_id == _HERE.object_id).outerjoin(
    films, films.c.film_id == dicom_objects.c.film_id
)


@dataclass(frozen=True)
class Answer:
    """What of an answer can be found. height, width: of a picture."""

    instance_uid: str
    series_uid: str
    class_uid: str
    syntax_uid: str
    modality: str
    height: int | None
    width: int | None


@dataclass(frozen=True)
class Instance:
    """One object or answer. film_id: of the film that it is, or answers; None before there is one. kept: whether its
    bytes lie here; state: of its object."""

    instance_uid: str
    object_id: str
    answer: bool
    study_uid: str
    series_uid: str
    class_uid: str
    syntax_uid: str
    film_id: str | None
    state: str
    kept: bool


def add(connection: sa.Connection, object_id: str, header: DicomHeader, syntax: str, patient_key: str | None) -> None:
    """Have an object found by the UIDs of its header. One that has an answer's UID is that answer, and stays it."""
    values = {
        "instance_uid": header.sop_uid,
        "object_id": object_id,
        "answer": False,
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "class_uid": header.sop_class_uid,
        "syntax_uid": syntax,
        "modality": header.modality[:16] if header.modality else None,
        "study_date": header.study_date.replace("-", "") if header.study_date else None,
        "patient_key": patient_key,
        "height": header.rows,
        "width": header.columns,
        "found_at": now(),
    }
    if connection.scalar(sa.select(_HERE.object_id).where(_HERE.instance_uid == header.sop_uid)) is None:
        connection.execute(dicom_instances.insert().values(values))


def add_answers(connection: sa.Connection, object_id: str, answers: Sequence[Answer]) -> None:
    """Have the answers of an object found, where it is."""
    own = connection.execute(
        sa.select(_HERE.study_uid, _HERE.study_date, _HERE.patient_key).where(
            _HERE.object_id == object_id, ~_HERE.answer
        )
    ).first()
    if own is None:
        return
    uids = [each.instance_uid for each in answers]
    there = set(connection.scalars(sa.select(_HERE.instance_uid).where(_HERE.instance_uid.in_(uids))))
    rows = [
        {**vars(each), **own._mapping, "object_id": object_id, "answer": True, "found_at": now()}
        for each in answers
        if each.instance_uid not in there
    ]
    if rows:
        connection.execute(dicom_instances.insert(), rows)


def instances_of(connection: sa.Connection, study: str, series: str = "", instance: str = "") -> list[Instance]:
    """What is known under a study, a series or an instance's UID, objects before their answers."""
    question = (
        sa.select(dicom_instances, dicom_objects.c.film_id, dicom_objects.c.state, KEPT)
        .select_from(JOINED)
        .where(_HERE.study_uid == study)
        .order_by(_HERE.answer, _HERE.found_at, _HERE.instance_uid)
    )
    if series:
        question = question.where(_HERE.series_uid == series)
    if instance:
        question = question.where(_HERE.instance_uid == instance)
    return [
        Instance(**{name: row._mapping[name] for name in Instance.__dataclass_fields__})
        for row in connection.execute(question)
    ]


def kept_answers(connection: sa.Connection) -> set[str]:
    """The UIDs of the answers that lie here for as long as their film does."""
    question = sa.select(_HERE.instance_uid).select_from(JOINED).where(_HERE.answer, films.c.kept)
    return set(connection.scalars(question))
