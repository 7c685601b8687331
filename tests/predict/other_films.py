"""Films of nobody in the phantoms, in folders named after their labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_films(folder: Path, **films_by_label: int) -> str:
    """The source that reads them; labels are written with an underscore for a hyphen."""
    rng = np.random.default_rng(11)
    for label, count in films_by_label.items():
        (folder / label.replace("_", "-")).mkdir(parents=True)
        for number in range(count):
            pixels = cv2.resize(rng.integers(0, 255, (6, 6), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / label.replace("_", "-") / f"{number}.png"), pixels)
    return f"folder:{folder}"
