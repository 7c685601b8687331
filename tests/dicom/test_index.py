"""What DICOMweb finds, asked of the database itself; on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from hilum.image.dicom import DicomHeader
from hilum.serve.dicom import index, objects
from hilum.serve.dicom.index import Answer
from hilum.serve.dicom.web.search import Level, asked_of, searched
from hilum.serve.store.tables import films
from serve.test_store import engine  # noqa: F401 (a store on each database)

SYNTAX = "1.2.840.10008.1.2.1"


def taken(connection: sa.Connection, number: int, study: int, *, kept: bool, **more: Any) -> None:
    """An object 1.NUMBER of series 3.NUMBER of study 2.STUDY, with its film and a report."""
    name = f"{number:032x}"
    about = {"modality": "CR", "study_date": f"2024-03-{number:02d}", "rows": 10, "columns": 20, **more}
    header = DicomHeader(
        sop_uid=f"1.{number}", study_uid=f"2.{study}", series_uid=f"3.{number}", sop_class_uid="1.2", **about
    )
    objects.take(connection, name, "0" * 64, 10, "ROOM")
    index.add(connection, name, header, SYNTAX, f"key-{study}")
    film = {"film_id": name, "sha256": name, "name": "a", "bytes": 1, "state": "done", "accepted_by": "a"}
    connection.execute(films.insert().values(**film, kept=kept, accepted_at="2024"))
    objects.asked(connection, name, name)
    report = Answer(f"4.{number}", f"5.{study}", "1.3", SYNTAX, "SR", None, None)
    objects.post(connection, name, [report], ["PACS"])


@pytest.fixture
def filled(engine: sa.Engine) -> sa.Engine:  # noqa: F811
    """Two objects of study 1, of which one is kept, and one of study 2; each with its report."""
    with engine.begin() as connection:
        taken(connection, 1, 1, kept=True)
        taken(connection, 2, 1, kept=False, modality="DX")
        taken(connection, 3, 2, kept=False)
    return engine


def found(engine: sa.Engine, level: Level, tag: str, *query: tuple[str, str], **path: str) -> list[Any]:  # noqa: F811
    asked = asked_of(level, query, **path)
    with engine.connect() as connection:
        answered = searched(connection, asked, "http://h", lambda text: f"key-{text}", identify=False)
    return [(each.get(tag, {}).get("Value") or [None])[0] for each in answered.found]


def test_each_level_counts_what_is_below_it(filled: sa.Engine) -> None:
    assert found(filled, "study", "0020000D") == ["2.2", "2.1"]  # the newest first
    assert found(filled, "study", "00201206") == [2, 3]  # series: of films, and one of reports for each study
    assert found(filled, "study", "00201208") == [2, 4]
    assert found(filled, "study", "00080056") == ["UNAVAILABLE", "ONLINE"]
    assert sorted(found(filled, "series", "00201209", StudyInstanceUID="2.1")) == [1, 1, 2]
    assert sorted(found(filled, "instance", "00080018", StudyInstanceUID="2.1")) == ["1.1", "1.2", "4.1", "4.2"]


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        (("PatientID", "2"), ["2.2"]),
        (("ModalitiesInStudy", "DX"), ["2.1"]),
        (("ModalitiesInStudy", "SR"), ["2.2", "2.1"]),
        (("StudyDate", "20240302-"), ["2.2", "2.1"]),
        (("StudyDate", "-20240301"), ["2.1"]),
        (("0020000D", "2.2\\2.7"), ["2.2"]),
        (("limit", "1"), ["2.2"]),
        (("offset", "1"), ["2.1"]),
    ],
)
def test_a_study_is_found_by_what_is_known_of_it(filled: sa.Engine, query: tuple[str, str], studies: list[str]) -> None:
    assert found(filled, "study", "0020000D", query) == studies


def test_an_answer_is_kept_as_long_as_its_film(filled: sa.Engine) -> None:
    with filled.connect() as connection:
        assert index.kept_answers(connection) == {"4.1"}
        kept = {each.instance_uid: each.kept for each in index.instances_of(connection, "2.1")}
        assert [each.instance_uid for each in index.instances_of(connection, "2.1", "5.1", "4.1")] == ["4.1"]
    assert kept == {"1.1": True, "1.2": False, "4.1": True, "4.2": False}


def test_what_waits_is_kept_and_what_is_deleted_is_not_found(filled: sa.Engine) -> None:
    with filled.begin() as connection:
        objects.take(connection, "f" * 32, "0" * 64, 10, "ROOM")
        header = DicomHeader(sop_uid="1.9", study_uid="2.9", series_uid="3.9", sop_class_uid="1.2")
        index.add(connection, "f" * 32, header, SYNTAX, None)
        (waits,) = index.instances_of(connection, "2.9")
        assert (waits.kept, waits.state, waits.film_id) == (True, "received", None)
        connection.execute(sa.delete(films))
    assert found(filled, "study", "0020000D") == ["2.9"]
