"""Films in a report: small pictures inside the page, and which films are shown."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from hilum.errors import HilumError
from hilum.image.decode import decode

LONGER_SIDE_PX = 256


@dataclass(frozen=True)
class Thumbnail:
    """A film made small, as a data: address; or no address and the problem in words."""

    address: str
    width: int
    height: int
    problem: str = ""


def small(path: Path | str) -> np.ndarray:
    """The film's pixels, uint8 (H, W), aspect kept, longer side at most 256 px. FilmError where it cannot be read."""
    pixels = decode(Path(path), at_least_px=LONGER_SIDE_PX).pixels
    return _shrunk(pixels, LONGER_SIDE_PX)


def thumbnail(path: Path | str) -> Thumbnail:
    """The film as a WebP of about 5 kB; a file that is gone or broken gives a thumbnail that says so."""
    try:
        pixels = small(path)
    except HilumError as error:
        return Thumbnail("", LONGER_SIDE_PX, LONGER_SIDE_PX, str(error))
    except OSError as error:
        return Thumbnail("", LONGER_SIDE_PX, LONGER_SIDE_PX, f"{path}: {error.strerror or error}")
    return picture_of(pixels, LONGER_SIDE_PX)


def picture_of(pixels: np.ndarray, longer_side_px: int) -> Thumbnail:
    """Pixels, uint8 (H, W) or RGB (H, W, 3), as a WebP whose longer side has at most so many."""
    pixels = np.ascontiguousarray(_shrunk(pixels, longer_side_px))
    out = BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", quality=72, method=4)
    address = "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return Thumbnail(address, pixels.shape[1], pixels.shape[0])


def _shrunk(pixels: np.ndarray, longer_side_px: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = longer_side_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def samples(films: pd.DataFrame, each: int) -> dict[str, pd.DataFrame]:
    """Class -> at most `each` of its films, the sources in turn, drawn by a hash of image_id: nobody chose them.

    films: columns image_id, class, source.

    >>> films = pd.DataFrame({"image_id": ["a/1", "a/2", "b/1"], "class": ["normal"] * 3, "source": ["a", "a", "b"]})
    >>> sorted(samples(films, 2)["normal"]["source"])
    ['a', 'b']
    """
    drawn = films.assign(_draw=films["image_id"].map(_draw)).sort_values("_draw")
    drawn["_turn"] = drawn.groupby(["class", "source"], sort=False, observed=True).cumcount()
    drawn = drawn.sort_values(["_turn", "_draw"])
    return {
        str(name): group.head(each).drop(columns=["_draw", "_turn"])
        for name, group in drawn.groupby("class", observed=True)
    }


def along_the_ranks(films: pd.DataFrame, probability: str, each: int) -> pd.DataFrame:
    """At most `each` films spread evenly over the ranks of a probability, the highest first.

    >>> films = pd.DataFrame({"p_normal": [0.1, 0.9, 0.5, 0.7, 0.3]})
    >>> along_the_ranks(films, "p_normal", 3)["p_normal"].tolist()
    [0.9, 0.5, 0.1]
    """
    ranked = films.sort_values(probability, ascending=False, kind="stable")
    places = np.unique(np.linspace(0, len(ranked) - 1, min(each, len(ranked))).round().astype(int))
    return ranked.iloc[places]


def misclassified(predictions: pd.DataFrame) -> pd.DataFrame:
    """The films whose predicted class is not the true one, the most confident first; films of unknown class left out.

    The column `confidence` is the probability of the class that was predicted.

    >>> table = pd.DataFrame({"label": ["a", "b", "b"], "predicted": ["a", "a", "a"],
    ...                       "p_a": [0.9, 0.6, 0.8], "p_b": [0.1, 0.4, 0.2]})
    >>> misclassified(table)["confidence"].tolist()
    [0.8, 0.6]
    """
    wrong = predictions[predictions["label"].notna() & (predictions["label"] != predictions["predicted"])]
    confidence = [row[f"p_{row['predicted']}"] for row in wrong.to_dict("records")]
    return wrong.assign(confidence=np.array(confidence, float)).sort_values(
        "confidence", ascending=False, kind="stable"
    )


def _draw(image_id: str) -> str:
    return hashlib.blake2b(str(image_id).encode(), digest_size=8).hexdigest()
