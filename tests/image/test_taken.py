"""A film that is predicted is decoded once, and each network gets the pixels that it would have learned from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from hilum.errors import FilmError
from hilum.image import decode as decoding
from hilum.image.prepare import prepare_file
from hilum.image.taken import taken_in
from hilum.recipe.schema import Prepare
from image.made_files import as_bytes, dicom, ramp, saved

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1000, 1100), dtype=np.uint8))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The sizes that films are decoded for."""
    sizes: list[int | None] = []

    def spy(*of: Any, at_least_px: int | None = None, where: str = "") -> Any:
        sizes.append(at_least_px)
        return decode(*of, at_least_px=at_least_px, where=where)

    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", spy)
    return sizes


@pytest.mark.parametrize(
    ("kind", "expected"),
    # 1000 px high: whole for 600 px; the half, 500, for 448 and 256; the eighth, 125, for 64.
    [("PNG", [600]), ("JPEG", [600, 448, 64])],
)
def test_each_network_gets_its_own_pixels_of_one_decoding(kind: str, expected: list[int], decoded: list[int]) -> None:
    data, hows = saved(NOISE, kind), [Prepare(side_px=side) for side in (128, 32, 300)]
    taken = taken_in(data, hows, gate=True)
    assert decoded == expected
    for how, prepared in zip(hows, taken.prepared, strict=True):
        np.testing.assert_array_equal(prepared.pixels, prepare_file(data, how))
    assert (taken.facts.width, taken.facts.height) == (1100, 1000)


def test_the_gate_looks_at_the_film_that_the_network_gets(decoded: list[int]) -> None:
    taken = taken_in(saved(NOISE, "JPEG"), [Prepare(side_px=224)], gate=True)
    assert [each.kind for each in taken.warnings] == ["no lungs"]
    assert decoded == [448]


def test_without_the_gate_nobody_looks(decoded: list[int]) -> None:
    assert taken_in(saved(NOISE, "JPEG"), [Prepare(side_px=64)], gate=False).warnings == ()
    assert decoded == [128]


def test_an_object_that_is_no_film_of_the_chest_is_refused() -> None:
    with pytest.raises(FilmError, match=r"knee\.dcm.*KNEE"):
        taken_in(as_bytes(dicom(ramp(), BodyPartExamined="KNEE")), [Prepare(side_px=32)], gate=True, where="knee.dcm")
