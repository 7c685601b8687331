"""Where the real films are, and a cache folder of each test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("HILUM_DATA") or Path(__file__).resolve().parents[1] / ".." / "shared").resolve()


@pytest.fixture
def shared() -> Path:
    """The folder with data/ and weights/; the test is skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real films at {SHARED}; set HILUM_DATA to the folder that holds data/ and weights/")
    return SHARED


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or fills the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("HILUM_CACHE", str(folder))
    return folder
