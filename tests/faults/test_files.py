"""Files that broke others: each gives a film or one clear FilmError, soon, in little memory, and nothing else."""

from __future__ import annotations

import gzip
import os
import random
import struct
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from hilum.errors import FilmError
from hilum.image.decode import decode
from hilum.image.dicom import read_header
from hilum.image.film import Film
from image.made_files import as_bytes, chunk, dicom, huge_png, in_rows, png, ramp, saved


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html><body>Please log in", "an HTML page"),
        (b"\n  <html lang='en'>", "an HTML page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?><!-- made --><svg width='9'/>", "an SVG drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run", "a PostScript document"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"GIF89a......", "a GIF picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (gzip.compress(bytes(1000), mtime=0), "a gzip archive"),
        (b"id,label\n1,normal\n", "this is a text"),
        (bytes(5000), "only zeros"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (os.urandom(0) + b"\x07\x9b\xfe\xc3" * 50, "no PNG, JPEG, DICOM"),
    ],
)
def test_what_is_no_film_is_called_by_its_name(data: bytes, said: str) -> None:
    with pytest.raises(FilmError, match=said):
        decode(data, where="film.png")


def test_a_zip_archive_is_named_and_never_opened() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../outside.png", png(ramp()))
    with pytest.raises(FilmError, match="a zip archive"):
        decode(buffer.getvalue())


def test_an_error_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "film.png"
    file.write_text("<html>")
    with pytest.raises(FilmError) as caught:
        decode(file)
    assert str(caught.value) == f"{file}: this is an HTML page, not a film. Download the file again."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_paths_that_are_no_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, Path("/dev/zero"), tmp_path / "absent.png", Path("a\0b")):
        with pytest.raises(FilmError):
            decode(path)


def test_a_file_too_large_to_be_a_film_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.dcm"
    with file.open("wb") as out:
        out.truncate(600 * 2**20)  # sparse
    with pytest.raises(FilmError, match="600 MiB"):
        decode(file)


@pytest.mark.parametrize(
    ("width", "height"), [(100_000, 1), (1, 100_000), (30_000, 30_000), (2_000_000_000, 16), (8, 8)]
)
def test_pictures_of_impossible_sizes_cost_nothing(width: int, height: int) -> None:
    rows = height if width * height < 10**9 else 20
    data = bytearray(huge_png(min(width, 100_000), rows))
    data[8:33] = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 1, 0, 0, 0, 0))
    before, start = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(FilmError, match=r"pixels"):
        decode(bytes(data))
    assert time.monotonic() - start < 0.5
    assert psutil.Process().memory_info().rss - before < 30 * 2**20


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP", "JPEG"])
def test_no_kind_of_file_gets_past_the_limit_of_size(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("L", (2000, 1000)), kind)
    assert decode(data).pixels.shape == (1000, 2000)
    monkeypatch.setattr("hilum.image.film.MAX_PIXELS", 1_999_999)
    with pytest.raises(FilmError, match="million pixels"):
        decode(data)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = saved(Image.fromarray(np.tile(ramp(), (4, 4))), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    with pytest.raises(FilmError, match="scans"):
        decode(data[:-2] + scan * 5000 + data[-2:])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_half_a_film_never_passes_for_a_whole_one(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    data = saved(Image.fromarray(noise), kind)
    for share in (0.1, 0.5, 0.9, 0.98):
        with pytest.raises(FilmError):
            decode(data[: int(len(data) * share)])


def test_a_jpeg_that_was_cut_and_closed_again_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    data = saved(Image.fromarray(noise), "JPEG")
    with pytest.raises(FilmError, match="damaged"):
        decode(data[: len(data) // 2] + b"\xff\xd9")


def test_a_twelve_bit_jpeg_is_refused_by_its_bits() -> None:
    data = bytearray(saved(Image.fromarray(ramp()), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(FilmError, match="12 bits"):
        decode(bytes(data))


def nested(depth: int, *, undefined: bool) -> bytes:
    """A DICOM object with sequences inside sequences, of undefined or stated length."""
    body = b""
    for _ in range(depth):
        if undefined:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + body + b"\xfe\xff\x0d\xe0\0\0\0\0"
            body = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
        else:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(body)) + body
            body = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<L", len(item)) + item
    whole = as_bytes(dicom(in_rows([0, 255], "uint8")))
    at = whole.index(b"\x28\x00\x02\x00US")  # SamplesPerPixel, the first element after group 0008
    return whole[:at] + body + whole[at:]


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [5, 300, 3000])
def test_sequences_nested_too_deeply_give_an_error_and_no_recursion(depth: int, undefined: bool) -> None:
    data = nested(depth, undefined=undefined)
    for read in (decode, read_header):
        try:
            assert read(data) is not None
        except FilmError as error:
            assert depth > 100  # a few are honest
            assert "nests its sequences too deeply" in str(error)


@pytest.mark.parametrize("length", [257, 2**31, 2**32 - 2])
def test_a_length_longer_than_the_file_gives_the_film_where_it_is_all_there_and_else_an_error(length: int) -> None:
    whole = as_bytes(dicom(in_rows([0, 255], "uint8")))
    at = whole.index(b"\xe0\x7f\x10\x00OB") + 8
    longer = whole[:at] + struct.pack("<L", length) + whole[at + 4 :]
    np.testing.assert_array_equal(decode(longer).pixels, decode(whole).pixels)
    with pytest.raises(FilmError, match="damaged"):
        decode(longer[:-1])


def test_a_dicomdir_is_named_and_what_it_points_to_is_never_opened(tmp_path: Path) -> None:
    # CVE-2026-32711: pydicom's FileSet followed such paths out of the folder.
    (tmp_path / "outside.png").write_bytes(png(ramp()))
    entry = pydicom.Dataset()
    entry.ReferencedFileID = ["..", "outside.png"]
    index = pydicom.Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.DirectoryRecordSequence = pydicom.Sequence([entry])
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc/DICOMDIR").write_bytes(as_bytes(index))
    with pytest.raises(FilmError, match="this is a DICOMDIR"):
        decode(tmp_path / "disc/DICOMDIR")


def test_rows_of_another_value_representation_are_read() -> None:
    dataset = dicom(in_rows([0, 255], "uint8"))
    for keyword in ("Rows", "Columns"):
        value = dataset[keyword].value
        dataset.add_new(keyword, "UL", value)
    assert decode(as_bytes(dataset)).pixels.shape == (16, 16)


def seeds() -> list[bytes]:
    """A small film of each kind."""
    grey, colour = Image.fromarray(ramp()), Image.fromarray(ramp()).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = dicom(ramp())
    packed.compress("1.2.840.10008.1.2.5")
    return [
        *(saved(image, kind) for image in (grey, colour) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")),
        saved(grey, "JPEG", progressive=True, exif=exif),
        png(ramp().astype(int) * 16, depth=16, interlaced=True),
        png(ramp() % 2, depth=8, colour=3, palette=bytes([9, 9, 9, 200, 200, 200]), transparency=b"\xff\x10"),
        as_bytes(dicom(ramp().astype(np.uint16) * 16, BitsStored=12, WindowCenter=2000, WindowWidth=3000)),
        as_bytes(packed),
    ]


def harmed(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)  # headers break more than pixels do
    for _ in range(rng.choice([1, 2, 5, 30])):
        changed[rng.randrange(reach)] = rng.choice([0, 255, rng.randrange(256)])
    return bytes(changed)


def is_film_or_film_error(data: bytes) -> bool:
    try:
        film = decode(data)
    except FilmError as error:
        assert str(error)
        return False
    assert isinstance(film, Film)
    assert (film.pixels.dtype, film.pixels.ndim) == (np.uint8, 2)
    return True


def test_two_thousand_harmed_files_give_a_film_or_a_film_error() -> None:
    rng, whole = random.Random(2), seeds()
    films = sum(is_film_or_film_error(harmed(rng.choice(whole), rng)) for _ in range(2000))
    assert 100 < films < 1900  # both happen


@pytest.mark.real
def test_harmed_real_films_give_a_film_or_a_film_error(shared: Path) -> None:
    rng = random.Random(3)
    files = [*sorted((shared / "data/cohen/images").iterdir())[::60], *(shared / "data/dicom").glob("*.dcm")]
    start, most = time.monotonic(), 0.0
    for _ in range(150):
        began = time.monotonic()
        is_film_or_film_error(harmed(rng.choice(files).read_bytes(), rng))
        most = max(most, time.monotonic() - began)
    assert most < 5.0
    assert time.monotonic() - start < 60.0
