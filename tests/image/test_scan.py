"""A scan has a row for every file, remembers what it read, and never stops over one film."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hilum.image import scan as scan_module
from hilum.image import workers as workers_module
from hilum.image.fingerprint import perceptual_hash
from hilum.image.scan import scan
from image.made_files import png, ramp, saved


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """30 good films, an HTML page and a path to nothing."""
    for number in range(30):
        (tmp_path / f"{number:02d}.png").write_bytes(png(ramp() // 2 + number))
    (tmp_path / "page.png").write_text("<!doctype html><p>Please log in")
    return [*sorted(tmp_path.glob("*.png")), tmp_path / "absent.png"]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_path_has_its_row_in_order_and_a_bad_file_its_error(
    films: list[Path], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "FEW", 0)
    table = scan(films, workers=workers)
    facts = ["width", "height", "bits", "mode", "format", "sha256", "phash", "phash_sizes"]
    assert list(table.columns) == ["path", *facts, "error"]
    assert table["path"].tolist() == [str(path) for path in films]
    good = table[:30]
    assert good["error"].isna().all()
    assert set(zip(good["width"], good["height"], good["bits"], good["mode"], good["format"], strict=True)) == {
        (48, 64, 8, "L", "png")
    }
    assert good["sha256"].tolist() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in films[:30]]
    assert good["phash"][0] == perceptual_hash(ramp() // 2)
    assert "HTML" in table["error"][30]
    assert str(films[30]) not in table["error"][30]  # the path has a column of its own
    assert table["error"][31] == "there is no such file."
    assert table["width"].dtype == "Int64"


def test_what_was_read_is_remembered_until_the_file_changes(films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = scan(films)
    read: list[Path] = []
    real = scan_module.facts_of
    monkeypatch.setattr(scan_module, "facts_of", lambda path: read.append(path) or real(path))
    assert scan(films).equals(first)
    assert read == [films[31]]  # the absent file, which may come
    films[3].write_bytes(saved(Image.fromarray(ramp()), "JPEG"))
    again = scan(films)
    assert read[1:] == [films[3], films[31]]
    assert again["format"][3] == "jpeg"


def test_a_path_may_stand_there_twice(films: list[Path]) -> None:
    table = scan([films[0], films[1], films[0]])
    assert table.loc[0].equals(table.loc[2])


def test_a_broken_store_is_made_anew(films: list[Path], own_cache: Path) -> None:
    first = scan(films)
    store = own_cache / "facts.sqlite"
    for damage in (b"this is no database" * 100, store.read_bytes()[:5000] + os.urandom(20000), b""):
        for part in own_cache.glob("facts.sqlite*"):
            part.unlink()
        store.write_bytes(damage)
        assert scan(films).equals(first)
        assert scan(films).equals(first)


def test_a_cache_folder_that_cannot_be_used_stops_nothing(
    films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HILUM_CACHE", str(tmp_path / "file/below"))
    assert scan(films[:3])["error"].isna().all()


def test_two_processes_may_scan_at_once(films: list[Path], own_cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hilum.image.scan import scan;"
        "print(scan([Path(name) for name in sys.argv[1:]], workers=1)['error'].isna().sum())"
    )
    command = [sys.executable, "-c", code, *map(str, films)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["30\n", "30\n"]
