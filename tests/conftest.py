"""Where the real films are, a cache folder of each test's own, and what is made once for all tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("HILUM_DATA") or Path(__file__).resolve().parents[1] / ".." / "shared").resolve()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that at the end no process waits for one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of a run of the tests fills, and the others wait for."""
    own = factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once" / name
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "made").exists():
            make(root / name)
            (root / "made").touch()
    return root / name


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.csv of synthetic films of 60 patients at 96 px, two hospitals, labels as the task covid-3 wants them."""
    from hilum.data.phantom import collection, write

    def make(folder: Path) -> None:
        write(collection(60, seed=3, side_px=96), folder / "films", masks=False)

    return once(tmp_path_factory, "phantoms", make) / "films" / "manifest.csv"


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

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("run-cache")))
            settings = [*SMALL, "stage.epochs=3", "stage.learning_rate=3e-3"]
            hilum.train(data=str(phantoms), settings=settings, out=folder)

    return once(tmp_path_factory, "small", make)


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made without drawing their report, which takes longer than a small training."""
    for module in ("training.train", "training.crossval", "predict.ensemble"):
        monkeypatch.setattr(f"hilum.{module}.write_report", lambda run: (run / "report.html").write_text(""))
