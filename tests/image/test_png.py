"""Plain PNGs are decoded sample by sample as they were written; all others are left to Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hilum.image.png import plain_png
from image.made_files import png, saved

SAMPLES = np.random.default_rng(0).integers(0, 256, (20, 24, 4))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "colour", "channels"), [(8, 0, 1), (8, 2, 3), (8, 6, 4), (16, 0, 1)])
def test_plain_samples_come_out_as_they_were_written(depth: int, colour: int, channels: int, interlaced: bool) -> None:
    samples = SAMPLES[..., :channels] * (251 if depth == 16 else 1)
    found = plain_png(png(samples, depth=depth, colour=colour, interlaced=interlaced))
    assert found is not None and found.dtype == f"uint{depth}"
    np.testing.assert_array_equal(found, samples)


def test_filtered_samples_are_those_that_pillow_writes() -> None:
    film = np.cumsum(SAMPLES[..., :3] % 9, axis=1).astype(np.uint8)  # smooth, so that Pillow chooses filters
    np.testing.assert_array_equal(plain_png(saved(Image.fromarray(film), "PNG", optimize=True)), film)


def test_words_about_a_film_leave_it_plain() -> None:
    words = PngInfo()
    words.add_text("Software", "a scanner")
    assert plain_png(saved(Image.fromarray(SAMPLES[..., 0].astype(np.uint8)), "PNG", pnginfo=words)) is not None


def rotated() -> bytes:
    turned = Image.Exif()
    turned[0x0112] = 6
    return saved(Image.fromarray(SAMPLES[..., 0].astype(np.uint8)), "PNG", exif=turned)


def magick() -> bytes:
    words = PngInfo()
    words.add_text("Raw profile type exif", "\nexif\n0\n")
    return saved(Image.fromarray(SAMPLES[..., 0].astype(np.uint8)), "PNG", pnginfo=words)


WHOLE = png(SAMPLES[..., 0])
FLIPPED = bytearray(WHOLE)
FLIPPED[WHOLE.index(b"IDAT") + 20] ^= 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rotated(), id="rotated"),
        pytest.param(magick(), id="Exif as text"),
        pytest.param(png(SAMPLES[..., 0], transparency=b"\0\5"), id="a transparent grey"),
        pytest.param(png(SAMPLES[..., 0] % 2, depth=1), id="one bit"),
        pytest.param(png(SAMPLES[..., :2], colour=4), id="grey and alpha"),
        pytest.param(WHOLE[:-30], id="cut off"),
        pytest.param(bytes(FLIPPED), id="a flipped bit"),
    ],
)
def test_what_is_not_plain_or_not_whole_is_left_to_pillow(data: bytes) -> None:
    assert plain_png(data) is None
