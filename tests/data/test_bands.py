"""Films by bands of their bits."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.data import bands


@pytest.mark.parametrize("width", [1, 16, 17, 25])
def test_films_are_sorted_by_the_bits_of_a_band(width: int) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (1003, width), dtype=np.uint8)
    keys = bands.keys_of(bands.planes_of(bits), len(bits))
    assert keys.tolist() == [int("".join(map(str, row)), base=2) for row in bits]
    assert bands.order_of(keys, width).tolist() == sorted(range(len(keys)), key=lambda film: (keys[film], film))


def test_every_bit_is_dealt_before_one_is_dealt_again() -> None:
    dealt = list(bands.dealt(100, 20, 12, np.random.default_rng(0)))
    assert len(dealt) == 12
    for start in (0, 5):
        assert sorted(np.concatenate(dealt[start : start + 5]).tolist()) == list(range(100))


def test_of_the_pairs_at_the_limit_as_many_are_missed_as_was_asked() -> None:
    rng = np.random.default_rng(0)
    number = bands.bands_needed(8, differ=0.2, missed=0.05)
    differ = np.zeros((4000, 500), np.bool_)
    differ[:, :100] = True
    differ = rng.permuted(differ, axis=1)
    agreed = np.zeros(4000, np.bool_)
    for places in bands.dealt(500, 8, number, rng):
        agreed |= ~differ[:, places].any(axis=1)
    assert abs((~agreed).mean() - 0.05) < 0.02


def test_numbers_that_come_often_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_PORTION", 4)
    batches = [np.random.default_rng(seed).integers(0, 9, 5) for seed in range(40)]
    assert bands.distinct(batches).tolist() == list(range(9))
    assert bands.distinct([]).tolist() == []
