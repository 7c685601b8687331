"""What goes back: its numbers, its references, its study; read by others' tools."""

from __future__ import annotations

import json
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from dicom.conftest import Running, Start
from dicom.nodes import Pacs, file_of, film, pacs, send, tool, until
from hilum.serve.dicom.report import class_code
from hilum.serve.dicom.source import source_of, uid_of, written


def answered(start: Start, source: pydicom.Dataset, **more: Any) -> tuple[Running, Pacs]:
    """What came back for an object."""
    with pacs() as other:
        running = start(f"PACS@127.0.0.1:{other.port}", **more)
        assert send(running.port, source) == [0x0000]
        until(lambda: len(other.got) == 2)
    return running, other


def items(container: pydicom.Dataset, name: str) -> list[pydicom.Dataset]:
    """Content items of a report, anywhere below, by their concept's meaning."""
    found = []
    for item in container.get("ContentSequence", []):
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeMeaning == name:
            found.append(item)
        found += items(item, name)
    return found


def test_the_report_has_every_probability_the_set_the_model_and_the_statement(start: Start, films: list[Any]) -> None:
    source = film(films[0])
    running, other = answered(start, source)
    report, capture = other.got
    (film_row,) = running.server.engine.connect().exec_driver_sql("select p, members, model_id from results").all()
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.22"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    model = running.server.models[0]
    for name, p in json.loads(film_row[0]).items():
        (told,) = items(report, f"Probability of {name}")
        assert float(told.MeasuredValueSequence[0].NumericValue) == pytest.approx(p, abs=1e-6)
    held = {item.ConceptCodeSequence[0].CodeMeaning for item in items(report, "Class in the prediction set")}
    assert held == {class_code(name).meaning for name in json.loads(film_row[1])}
    parameters = [item.TextValue for item in items(report, "Algorithm Parameters")]
    assert any(text.startswith(f"weights SHA-256 {model.model_id}") and len(text) == 80 for text in parameters)
    assert [item.TextValue for item in items(report, "Algorithm Name")] == [f"hilum: {model.name}"]
    comments = [item.TextValue for item in items(report, "Comment")]
    assert "Research use only. Not a medical device." in comments
    assert "Operating point: none chosen; the most probable class is told." in comments
    (image,) = items(report, "Source of Measurement")
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    referenced = capture.SourceImageSequence[0]
    assert referenced.ReferencedSOPInstanceUID == source.SOPInstanceUID
    for answer in (report, capture):
        assert answer.StudyInstanceUID == source.StudyInstanceUID
        assert (answer.PatientID, str(answer.PatientName)) == ("P-17", "Doe^Jane")
        assert answer.SOPInstanceUID != source.SOPInstanceUID
        assert answer.SeriesInstanceUID not in (source.SeriesInstanceUID, "")
    assert capture.SeriesInstanceUID != report.SeriesInstanceUID


def test_the_operating_point_in_use_is_told_with_its_thresholds(start: Start, films: list[Any]) -> None:
    with pacs() as other:
        running = start(f"PACS@127.0.0.1:{other.port}")
        model = running.server.models[0]
        running.server.points[model.model_id] = 0.9
        send(running.port, film(films[0]))
        until(lambda: len(other.got) == 2)
    told = " ".join(item.TextValue for item in items(other.got[0], "Comment"))
    assert "sensitivity 0.9 wished on validation" in told
    for name, point in model.points[0.9].items():
        assert point["threshold"] is None or f"{name} from {point['threshold']:.3f}" in told
    assert items(other.got[0], "Class called at the operating point")


def test_the_capture_shows_the_film_its_map_and_its_scale(start: Start, films: list[Any]) -> None:
    _, other = answered(start, film(films[0]))
    capture = other.got[1]
    pixels = capture.pixel_array
    assert pixels.shape[1] == 1024 and pixels.shape[0] > 1024 and pixels.shape[2] == 3
    panel = pixels[1024:].astype(int)
    scale = panel[14:28, 20:-20]
    assert (scale[0, 0].max() - scale[0, 0].min() < 10) and scale[0, -1, 0] > scale[0, -1, 2] + 50  # grey to warm
    assert (panel[36:] == 255).all(2).any()  # white words
    assert pixels[:1024].std() > 5
    assert capture.ImageType == ["DERIVED", "SECONDARY"]


def test_films_that_are_not_kept_get_a_report_without_a_map(start: Start, films: list[Any]) -> None:
    with pacs() as other:
        running = start(f"PACS@127.0.0.1:{other.port}", server={"keep_hours": 0.0})
        send(running.port, film(films[0]))
        running.ended(1)
        until(lambda: running.outbox() == {f"PACS@127.0.0.1:{other.port}": {"due": 0, "sent": 1, "refused": 0}})
    assert [each.Modality for each in other.got] == ["SR"]


def test_an_answer_has_the_same_uid_whoever_makes_it() -> None:
    # A version 5 UUID as RFC 9562 has it: computed with Python's uuid from the namespace and the words.
    assert uid_of("1.2.3", "m", "report").startswith("2.25.")
    assert uid_of("1.2.3", "m", "report") == uid_of("1.2.3", "m", "report")
    uids = {uid_of(uid, model, kind) for uid in ("1.2", "1.3") for model in "ab" for kind in ("report", "capture")}
    assert len(uids) == 8 and all(len(uid) <= 64 for uid in uids)


def test_broken_values_of_the_source_do_not_break_its_answers(start: Start, films: list[Any]) -> None:
    with pydicom.config.disable_value_validation():
        source = film(
            films[0],
            PatientBirthDate="sometime",
            PatientSex="female",
            StudyTime="noon",
            StudyID="x" * 40,
            PatientName="Müller^Äda",
            AccessionNumber=None,
            PatientID=None,
        )
        running, other = answered(start, source)
    assert running.counts()["answered"] == 1
    report = other.got[0]
    assert (report.PatientBirthDate, report.PatientSex, report.StudyID, report.PatientID) == ("", "", "", "")
    assert str(report.PatientName) == "Müller^Äda"


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.real)])
def test_dciodvfy_finds_no_error_and_dsrdump_reads_the_report(
    start: Start, films: list[Any], tmp_path: Path, request: pytest.FixtureRequest, real: bool
) -> None:
    verify, dump = tool("dciodvfy", "dicom3tools"), tool("dsrdump", "dcmtk")
    source = film(films[0])
    if real:
        shared: Path = request.getfixturevalue("shared")
        source = pydicom.dcmread(shared / "data" / "dicom" / "nih-dx-frontal.dcm")
    _, other = answered(start, source)
    for number, answer in enumerate(other.got):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(file_of(answer))
        done = subprocess.run([verify, str(path)], capture_output=True, text=True)
        assert "Error" not in done.stderr + done.stdout, done.stderr
        assert ("EnhancedSR", "SCImage")[number] in done.stderr + done.stdout
    done = subprocess.run([dump, str(tmp_path / "0.dcm")], capture_output=True, text=True, check=True)
    assert "Imaging Measurement Report" in done.stdout and "Research use only" in done.stdout


def test_what_is_written_is_read_back() -> None:
    source = source_of(file_of(film(np.zeros((64, 64), np.uint8), SOPInstanceUID=generate_uid())))
    assert str(source.PatientName) == "Doe^Jane"
    source.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    assert pydicom.dcmread(BytesIO(written(source))).StudyDate == "20240305"
