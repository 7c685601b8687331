"""How many synthetic films a second one core makes, and `hilum demo` on all cores: python benchmarks/phantom.py"""

from __future__ import annotations

import platform
import tempfile
import time
from itertools import cycle

import cv2
import numpy as np

from hilum.data.phantom import USUAL, Finding, demo_collection, film
from hilum.files import cores

FILMS = 80


def seconds_each(side_px: int, kinds: list[str]) -> list[float]:
    """Processor time of each film; other work on the machine counts little."""
    film(0, side_px=side_px)
    times = []
    for patient, kind in zip(range(FILMS), cycle(kinds or [""]), strict=False):
        start = time.process_time()
        film(0, patient=patient, side_px=side_px, finding=Finding(kind) if kind else None)  # type: ignore[arg-type]
        times.append(time.process_time() - start)
    return times


def machine() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    software = f"Python {platform.python_version()}, numpy {np.__version__}, cv2 {cv2.__version__}"
    return f"{name}, {platform.system()}, {software}"


def written_each_second() -> float:
    """Films and masks of the demo (two of three with a finding, 256 px) as files, wall time, on all cores."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        return len(demo_collection(f"{folder}/films")) / (time.monotonic() - start)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    print(f"{machine()}; one core, processor time, {FILMS} films a row\n")
    print("| side, px | finding | films a second | of the fastest half |")
    print("| --- | --- | --- | --- |")
    for side_px in (224, 256, 384):
        for name, kinds in (("none", []), ("every kind in turn", list(USUAL))):
            times = np.sort(seconds_each(side_px, kinds))
            print(f"| {side_px} | {name} | {1 / times.mean():.0f} | {1 / times[: FILMS // 2].mean():.0f} |")
    print(
        f"\nThe demo's films and masks written on {cores()} cores: "
        f"{written_each_second():.0f} films a second of wall time"
    )
