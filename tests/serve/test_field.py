"""The files that broke others, sent to the server: a result or a typed error each, and the server goes on."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from hilum.serve.app import create_app
from hilum.serve.models import Model
from hilum.serve.server import opened
from hilum.serve.settings import Settings
from image.made_files import as_bytes, dicom, huge_png, png, ramp, saved
from serve.serving import until_done


def nested_dicom(depth: int) -> bytes:
    """A film whose signatures are a sequence in a sequence in a sequence; in bytes, because no writer gets there."""
    item, no_length = b"\xfe\xff\x00\xe0", b"\xff\xff\xff\xff"
    opened = (b"\xfa\xff\xfa\xffSQ\0\0" + no_length + item + no_length) * depth
    closed = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    return as_bytes(dicom(ramp(96, 96), BodyPartExamined="CHEST")) + opened + closed


@pytest.fixture
def client(settings: Settings, model: Model) -> Iterator[TestClient]:
    """A server that decodes as it does in service, in processes of its own, because some of these end their decoder."""
    app = create_app(opened(settings, [model]))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def corpus() -> dict[str, bytes]:
    """Each of a kind that `shared/field.md` tells of, by name."""
    grey = Image.fromarray(ramp(96, 96))
    whole = saved(grey, "PNG")
    files = {
        "empty.png": b"",
        "wide.png": huge_png(30_000, 16),
        "line.png": huge_png(100_000, 1),
        "huge.png": huge_png(30_000, 30_000),
        "sixteen.png": png(np.arange(4096).reshape(64, 64) * 16, depth=16),
        "cmyk.jpg": saved(grey.convert("CMYK"), "JPEG"),
        "palette.png": saved(grey.convert("P"), "PNG"),
        "alpha.png": saved(grey.convert("RGBA"), "PNG"),
        "page.png": b"<html><script>alert(1)</script></html>",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "page.dcm": b"%!PS-Adobe-3.0 EPSF-3.0",
        "film.png.gz": gzip.compress(bytes(10_000_000)),
        "monochrome1.dcm": as_bytes(
            dicom(ramp(96, 96), PhotometricInterpretation="MONOCHROME1", BodyPartExamined="CHEST")
        ),
        "signed.dcm": as_bytes(dicom(ramp(96, 96).astype(np.int16) - 100, BodyPartExamined="CHEST")),
        "no-pixels.dcm": as_bytes(dicom(ramp(96, 96), PixelData=None)),
        "long.dcm": as_bytes(dicom(ramp(96, 96)))[:-1000],
        "nested.dcm": nested_dicom(1000),
        "knee.dcm": as_bytes(dicom(ramp(96, 96), BodyPartExamined="KNEE")),
    }
    generator = np.random.default_rng(0)
    for number in range(20):
        broken = bytearray(whole[: generator.integers(10, len(whole))])
        broken[generator.integers(len(broken))] ^= 1 << generator.integers(8)
        files[f"broken-{number}.png"] = bytes(broken)
    folder = Path(pydicom.data.__file__).parent / "test_files"
    files |= {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}
    return files


def test_every_file_of_the_field_is_a_result_or_a_typed_error(client: TestClient) -> None:
    files = corpus()
    out: dict[str, str] = {}
    made = client.post("/api/v1/films", files=[("films", (name, io.BytesIO(data))) for name, data in files.items()])
    assert made.status_code == 202
    batch = made.json()
    assert len(batch["accepted"]) + len(batch["refused"]) == len(files)
    assert [each["name"] for each in batch["refused"]] == ["empty.png"]
    until_done(client, batch["batch"], 120)
    for film in client.get("/api/v1/films?most=500").json()["films"]:
        out[film["name"]] = film["state"]
        assert film["state"] != "waiting"
        assert (film["error"] is None) == (film["state"] == "done")
        assert "Traceback" not in (film["error"] or "")
        assert not (film["error"] or "").startswith("the server failed"), (film["name"], film["error"])
        if film["state"] == "done":
            assert abs(sum(film["results"][0]["probabilities"].values()) - 1) < 1e-6
    for name in ("wide.png", "sixteen.png", "cmyk.jpg", "palette.png", "alpha.png", "monochrome1.dcm", "signed.dcm"):
        assert out[name] == "done", name
    refused = ("line.png", "huge.png", "page.png", "drawing.svg", "page.dcm", "no-pixels.dcm", "nested.dcm", "knee.dcm")
    for name in refused:
        assert out[name] == "failed", name
    assert client.get("/api/v1/health").json()["status"] == "ok"
