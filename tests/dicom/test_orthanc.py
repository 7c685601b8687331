"""With Orthanc as the PACS, and DCMTK as a modality: film in, report and capture back in Orthanc; films fetched."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest
from PIL import Image

from commands import hilum
from dicom.conftest import Start
from dicom.nodes import Orthanc, file_of, film, free_port, orthanc, over_http, send, tool, until
from dicom.test_anonymise import planted
from hilum.errors import DataError, RequestError
from hilum.serve.app import create_app
from hilum.serve.dicom.pull import pull
from hilum.serve.dicom.settings import NodeSettings, Peer, WebPeer
from hilum.serve.dicom.wanted import Wanted


@dataclass(frozen=True)
class Archive:
    """A running Orthanc and the port at which it expects HILUM."""

    there: Orthanc
    own_port: int

    @property
    def peer(self) -> Peer:
        return Peer("ORTHANC", "127.0.0.1", self.there.port)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    port = free_port()
    with orthanc(tmp_path_factory.mktemp("pacs"), port) as there:
        yield Archive(there, port)


@pytest.fixture
def empty(archive: Archive) -> Archive:
    """The archive without a study."""
    for study in archive.there.ask("/studies"):
        place = f"http://127.0.0.1:{archive.there.web}/studies/{study}"
        urllib.request.urlopen(urllib.request.Request(place, method="DELETE"), timeout=30).close()
    return archive


def modalities(archive: Archive) -> dict[str, Any]:
    """The series in the archive, by their modality."""
    found = archive.there.ask("/series?expand")
    return {each["MainDicomTags"]["Modality"]: each for each in found}


def test_dcmtk_sends_a_film_and_orthanc_has_its_report_and_its_map(
    start: Start, empty: Archive, films: list[Any], tmp_path: Path
) -> None:
    echo, store, find = (tool(name, "dcmtk") for name in ("echoscu", "storescu", "findscu"))
    running = start(str(empty.peer))
    source = film(films[0])
    (tmp_path / "film.dcm").write_bytes(file_of(source))
    node = ["-aec", "HILUM", "127.0.0.1", str(running.port)]
    assert subprocess.run([echo, *node], check=False).returncode == 0
    assert subprocess.run([store, *node, str(tmp_path / "film.dcm")], check=False).returncode == 0
    send(empty.there.port, source, called="ORTHANC")  # the modality sends to its archive too
    until(lambda: {"CR", "SR", "OT"} <= set(modalities(empty)), seconds=60)
    (study,) = empty.there.ask("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == source.StudyInstanceUID
    assert len(study["Series"]) == 3
    (picture,) = modalities(empty)["OT"]["Instances"]
    shown = Image.open(BytesIO(empty.there.ask(f"/instances/{picture}/preview")))
    assert shown.width == 1024
    (report,) = modalities(empty)["SR"]["Instances"]
    tags = empty.there.ask(f"/instances/{report}/simplified-tags")
    assert tags["ContentTemplateSequence"][0]["TemplateIdentifier"] == "1500"
    asked = ["-S", "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={source.StudyInstanceUID}"]
    done = subprocess.run(
        [find, "-v", "-aec", "ORTHANC", *asked, "-k", "SeriesDescription", "127.0.0.1", str(empty.there.port)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hilum report, research use only" in done.stdout + done.stderr


def test_orthanc_takes_the_answers_over_stow_rs(start: Start, empty: Archive, films: list[Any]) -> None:
    peer = dicomweb_of(empty)
    running = start(peer.address)
    assert send(running.port, film(films[0])) == [0x0000]
    until(lambda: {"SR", "OT"} <= set(modalities(empty)), seconds=60)
    until(lambda: running.outbox() == {peer.address: {"due": 0, "sent": 2, "refused": 0}})


def filled(archive: Archive, films: list[Any]) -> list[pydicom.Dataset]:
    """Four films: of two days, one of another body part, one lateral."""
    sources = [
        film(films[0], StudyDate="20240105"),
        film(films[1], StudyDate="20240305", PatientID="P-18"),
        film(films[2], StudyDate="20240306", BodyPartExamined="FOOT"),
        film(films[3], StudyDate="20240307", Modality="DX", ViewPosition="LL"),
    ]
    assert send(archive.there.port, *sources, called="ORTHANC") == [0] * 4
    return sources


def test_pull_fetches_what_is_asked_for_and_the_reader_reads_it(
    empty: Archive, films: list[Any], tmp_path: Path
) -> None:
    sources = filled(empty, films)
    done = pull(empty.peer, tmp_path / "films", Wanted("20240101-20240331"), NodeSettings(0))
    assert (done.found, done.before, done.came) == (3, 0, 3)
    names = {path.stem for path in (tmp_path / "films" / "films").iterdir()}
    assert names == {str(sources[number].SOPInstanceUID) for number in (0, 1, 3)}
    table = pd.read_parquet(tmp_path / "films" / "manifest.parquet")
    assert sorted(table["view"]) == ["PA", "PA", "lateral"]
    assert sorted(table["patient_id"]) == ["films/P-17", "films/P-17", "films/P-18"]


def test_pull_again_fetches_only_what_is_missing(empty: Archive, films: list[Any], tmp_path: Path) -> None:
    filled(empty, films)
    pull(empty.peer, tmp_path / "films", Wanted("20240301-"), NodeSettings(0))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "films" / "films").iterdir()}
    next(iter(kept)).unlink()
    done = pull(empty.peer, tmp_path / "films", Wanted("20240301-"), NodeSettings(0))
    assert (done.found, done.before, done.came) == (2, 1, 1)
    assert sum(path.stat().st_mtime_ns == at for path, at in kept.items()) == 1


def test_pull_by_c_move_gives_the_same_films(empty: Archive, films: list[Any], tmp_path: Path) -> None:
    filled(empty, films)
    done = pull(empty.peer, tmp_path / "moved", Wanted(), NodeSettings(empty.own_port), move=True)
    assert (done.found, done.came) == (3, 3)
    pull(empty.peer, tmp_path / "got", Wanted(), NodeSettings(0))
    for path in (tmp_path / "got" / "films").iterdir():
        assert (tmp_path / "moved" / "films" / path.name).exists()


def test_a_round_trip_of_anonymised_films_leaves_no_identifier_in_any_byte(
    empty: Archive, films: list[Any], tmp_path: Path
) -> None:
    data, words = planted(films[0])
    bad = pydicom.dcmread(BytesIO(data))
    with pydicom.config.disable_value_validation():
        foot = film(films[1], BodyPartExamined="ZEBEDEEDOE FOOT", PatientName="ZEBEDEEDOE", PatientID="471147114711")
        assert send(empty.there.port, bad, foot, called="ORTHANC") == [0, 0]
    wanted = Wanted(body_part="")
    done = pull(empty.peer, tmp_path / "films", wanted, NodeSettings(0), key=bytes(range(32)))
    assert (done.found, done.came) == (2, 1)
    again = pull(empty.peer, tmp_path / "films", wanted, NodeSettings(0), key=bytes(range(32)))
    assert (again.before, again.came) == (2, 0)
    written = [path for path in (tmp_path / "films").rglob("*") if path.is_file()]
    assert len(written) == 3
    table = pd.read_parquet(tmp_path / "films" / "manifest.parquet").astype(str).to_csv().encode()
    table = table.replace(str(tmp_path).encode(), b"")
    for word in words:
        assert word not in table
        for path in written:
            assert word not in path.read_bytes() and word.decode() not in str(path.relative_to(tmp_path))


def dicomweb_of(archive: Archive) -> WebPeer:
    """Orthanc's DICOMweb; the test is skipped where it has none."""
    try:
        archive.there.ask("/dicom-web/studies")
    except OSError:
        pytest.skip("no DICOMweb in Orthanc: apt-get install orthanc-dicomweb")
    return WebPeer(f"http://127.0.0.1:{archive.there.web}/dicom-web")


def test_pull_over_dicomweb_gives_the_same_films_and_goes_on_where_it_stopped(
    empty: Archive, films: list[Any], tmp_path: Path
) -> None:
    peer = dicomweb_of(empty)
    filled(empty, films)
    done = pull(peer, tmp_path / "web", Wanted(), NodeSettings(0))
    pull(empty.peer, tmp_path / "got", Wanted(), NodeSettings(0))
    assert (done.found, done.before, done.came) == (3, 0, 3)
    came = {path.name: path for path in (tmp_path / "web" / "films").iterdir()}
    assert sorted(came) == sorted(path.name for path in (tmp_path / "got" / "films").iterdir())
    for path in (tmp_path / "got" / "films").iterdir():
        assert pydicom.dcmread(path) == pydicom.dcmread(came[path.name])
    next(iter(came.values())).unlink()
    again = pull(peer, tmp_path / "web", Wanted("20240101-20241231"), NodeSettings(0))
    assert (again.found, again.before, again.came) == (3, 2, 1)


def test_pull_over_dicomweb_anonymises_too(empty: Archive, films: list[Any], tmp_path: Path) -> None:
    peer = dicomweb_of(empty)
    data, words = planted(films[0])
    with pydicom.config.disable_value_validation():
        assert send(empty.there.port, pydicom.dcmread(BytesIO(data)), called="ORTHANC") == [0]
    done = pull(peer, tmp_path / "films", Wanted(body_part="", modalities=()), NodeSettings(0), key=bytes(range(32)))
    assert (done.found, done.came) == (1, 1)
    for path in (each for each in (tmp_path / "films").rglob("*.dcm")):
        assert not any(word in path.read_bytes() for word in words)


def test_orthanc_stores_searches_and_retrieves_over_our_dicomweb(
    start: Start, empty: Archive, films: list[Any]
) -> None:
    dicomweb_of(empty)
    running = start(web=True)
    source = film(films[0])
    send(empty.there.port, source, called="ORTHANC")
    (instance,) = empty.there.ask("/instances")
    with over_http(create_app(running.server, running.node)) as address:
        empty.there.ask("/dicom-web/servers/hilum", {"Url": f"{address}/dicom-web/"}, "PUT")
        empty.there.ask("/dicom-web/servers/hilum/stow", {"Resources": [instance], "Synchronous": True})
        running.ended(1)
        (study,) = empty.there.ask("/dicom-web/servers/hilum/qido", {"Uri": "/studies"})
        assert study["0020000D"]["Value"] == source.StudyInstanceUID  # as Orthanc tells what it was told
        wanted = {"Resources": [{"Study": str(source.StudyInstanceUID)}], "Synchronous": True}
        empty.there.ask("/dicom-web/servers/hilum/retrieve", wanted)
    assert {"CR", "SR", "OT"} == set(modalities(empty))


def test_pull_from_our_own_dicomweb_leaves_out_what_is_not_kept(start: Start, films: list[Any], tmp_path: Path) -> None:
    running = start(web=True)
    sources = [film(films[0]), film(films[1], ViewPosition="LL"), film(films[2])]
    assert send(running.port, *sources) == [0, 0, 0]
    running.ended(3)
    with over_http(create_app(running.server, running.node)) as address:
        done = pull(WebPeer(f"{address}/dicom-web"), tmp_path / "films", Wanted(), NodeSettings(0))
    assert (done.found, done.came, dict(done.left_out)) == (3, 2, {"the PACS does not give it": 1})


def test_a_pacs_that_is_not_there_and_wrong_dates_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing answers there"):
        pull(Peer("PACS", "127.0.0.1", free_port()), tmp_path, Wanted(), NodeSettings(0))
    with pytest.raises(RequestError, match="no range of dates"):
        pull(Peer("PACS", "127.0.0.1", 1), tmp_path, Wanted("last week"), NodeSettings(0))
    nowhere = WebPeer(f"http://127.0.0.1:{free_port()}/dicom-web")
    with pytest.raises(RequestError, match="nothing answers there"):
        pull(nowhere, tmp_path, Wanted(), NodeSettings(0))
    with pytest.raises(RequestError, match="no C-MOVE"):
        pull(nowhere, tmp_path, Wanted(), NodeSettings(0), move=True)


def test_no_film_of_the_chest_is_told(empty: Archive, films: list[Any], tmp_path: Path) -> None:
    send(empty.there.port, film(films[0], BodyPartExamined="FOOT"), called="ORTHANC")
    with pytest.raises(DataError):
        pull(empty.peer, tmp_path / "films", Wanted(body_part=""), NodeSettings(0))


def test_the_command_pulls_and_says_so(empty: Archive, films: list[Any], tmp_path: Path) -> None:
    filled(empty, films)
    done = hilum("--json", "dicom", "pull", str(empty.peer), "--anonymise", "-o", str(tmp_path / "films"))
    told = json.loads(done.stdout)
    assert (told["found"], told["came"], told["left_out"]) == (3, 3, {})
    assert (tmp_path / "films.key").exists()
