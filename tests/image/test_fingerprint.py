"""The fingerprint of a film: what it must not see, and what it must."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pytest
import scipy.fft
from PIL import Image

from hilum.image.fingerprint import BLOCK, perceptual_hash, unpack


def bits(text: str) -> np.ndarray:
    return np.unpackbits(unpack([text]).view(np.uint8)).reshape(BLOCK, BLOCK).astype(bool)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float((bits(perceptual_hash(a)) != bits(perceptual_hash(b))).mean())


def clouds(seed: int, side: int = 256) -> np.ndarray:
    """A picture with structure of every size, as a film has."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(size=(n, n)), (side, side), interpolation=cv2.INTER_CUBIC) for n in (4, 8, 16, 32)]
    return np.clip(128 + 25 * sum(layers), 0, 255).astype(np.uint8)


def grey(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def test_bits_are_the_signs_of_scipys_cosine_transform() -> None:
    film = clouds(0, 128)  # of the size that it is taken at, so that no resizing stands between
    expected = scipy.fft.dctn(film.astype(float), norm="ortho")[:BLOCK, :BLOCK]
    sure = np.abs(expected - 1.0) > 1e-6
    sure[0, 0] = False
    assert (bits(perceptual_hash(film)) == (expected > 1.0))[sure].all()


def test_a_white_left_half_sets_every_fourth_bit_of_the_first_row() -> None:
    """By hand: coefficient k of a step is proportional to sin(k pi / 2): 1, 0, -1, 0, ... for k = 1, 2, 3, 4, ..."""
    film = np.zeros((128, 128), np.uint8)
    film[:, :64] = 200
    assert np.argwhere(bits(perceptual_hash(film))).tolist() == [[0, k] for k in range(1, 32, 4)]


@pytest.mark.parametrize(
    "change",
    [
        lambda film: cv2.resize(film, (100, 100), interpolation=cv2.INTER_AREA),
        lambda film: cv2.resize(film, (150, 320)),
        lambda film: film // 2,
        lambda film: np.clip(film.astype(int) + 20, 0, 255).astype(np.uint8),
        lambda film: cv2.imdecode(cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0),
    ],
    ids=["smaller", "squashed", "darker", "brighter", "re-encoded"],
)
def test_size_aspect_brightness_and_encoding_change_few_bits(change) -> None:
    film = clouds(1)
    assert distance(film, change(film)) < 0.06


def test_another_picture_differs_in_about_half_of_the_bits() -> None:
    assert 0.4 < distance(clouds(2), clouds(3)) < 0.6


def test_a_film_turned_or_mirrored_is_another_film() -> None:
    film = clouds(4)
    assert distance(film, film[:, ::-1]) > 0.4
    assert distance(film, np.rot90(film)) > 0.4


@pytest.mark.parametrize("side", [1, 2, 7, 40])
def test_tiny_films_have_a_fingerprint(side: int) -> None:
    film = np.arange(side * side, dtype=np.uint8).reshape(side, side)
    assert len(perceptual_hash(film)) == (256 if side > 1 else 0)


def test_a_film_of_one_grey_value_has_none() -> None:
    assert perceptual_hash(np.zeros((300, 200), np.uint8)) == ""


@pytest.mark.parametrize("film", [np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3)), np.zeros((0, 3), np.uint8)])
def test_what_is_no_film_is_refused(film: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        perceptual_hash(film)


@pytest.mark.parametrize("text", ["", "ff", "0" * 16, "0" * 257])
def test_a_fingerprint_of_another_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="256 hexadecimal digits"):
        unpack([text])


@pytest.mark.real
def test_it_agrees_with_imagehash_on_real_films(shared: Path) -> None:
    """imagehash compares with the median, and resizes by other means; few bits are so near zero that it matters."""
    agree = []
    for path in sorted((shared / "data" / "kermany-large" / "VIRAL").iterdir())[:20]:
        film = grey(path)
        agree.append(
            (imagehash.phash(Image.fromarray(film), hash_size=BLOCK).hash == bits(perceptual_hash(film))).mean()
        )
    assert min(agree) > 0.93


@pytest.mark.real
def test_the_same_film_squashed_to_224_px_differs_in_few_bits(shared: Path) -> None:
    data = shared / "data"
    by_name = {path.name: path for path in (data / "kermany").rglob("*.jpeg")}
    large = sorted((data / "kermany-large").rglob("*.jpeg"))
    assert len(large) == 630
    worst = max(distance(grey(path), grey(by_name[path.name])) for path in large)
    assert worst < 0.05


@pytest.mark.real
def test_two_films_of_one_patient_on_two_days_are_far_apart(shared: Path) -> None:
    """NIH patients with several follow-ups; 00002658_001 and _002 are one file twice."""
    folder = shared / "data" / "darkcovidnet" / "No_findings"
    of_patient: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        of_patient.setdefault(path.name.split("_")[0], []).append(path)
    pairs = [(a, b) for films in of_patient.values() for a, b in itertools.pairwise(films)]
    far = {a.name[:8]: distance(grey(a), grey(b)) for a, b in pairs if a.read_bytes() != b.read_bytes()}
    assert len(far) > 50
    assert min(far.values()) > 0.26
