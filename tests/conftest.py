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


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.csv of synthetic films of 60 patients at 96 px, two hospitals, labels as the task covid-3 wants them."""
    from hilum.data.phantom import collection, write

    folder = tmp_path_factory.mktemp("phantoms") / "films"
    write(collection(60, seed=3, side_px=96), folder, masks=False)
    return folder / "manifest.csv"


# A network and a training that take seconds, for tests of everything around them.
SMALL = (
    "data.task=covid-3",
    "prepare.side_px=64",
    "model.backbone=mobilenetv3_small_050",
    "model.weights=none",
    "augment.rotation_deg=5",
    "model.dropout=0.2",
    "training.workers=1",
    "evaluate.bootstrap=100",
)


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Settings of a training that takes seconds."""
    return SMALL


@pytest.fixture(scope="session")
def small_run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the phantoms; tests read it and do not change it."""
    import hilum

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("run-cache")))
        settings = [*SMALL, "stage.epochs=3", "stage.learning_rate=3e-3"]
        return hilum.train(data=str(phantoms), settings=settings, out=tmp_path_factory.mktemp("runs") / "small").path
