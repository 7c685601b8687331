"""What an epoch draws when classes or sources are of unequal size."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from hilum.errors import DataError, RequestError
from hilum.recipe.schema import Balance
from hilum.training.balance import batches_per_epoch, class_weights, epoch_batches

CLASSES = ["covid-19", "pneumonia", "normal"]
Y = np.repeat([0, 1, 2], [10, 40, 25])
SOURCES = np.where(np.arange(75) % 5 == 0, "small", "large").astype(object)


def drawn(balance: Balance, seed: int = 0, batch_size: int = 8) -> list[np.ndarray]:
    return epoch_batches(Y, SOURCES, CLASSES, balance, batch_size, np.random.default_rng(seed))


def counts(batches: list[np.ndarray]) -> list[int]:
    return np.bincount(Y[np.concatenate(batches)], minlength=3).tolist()


def test_without_balancing_every_film_comes_once() -> None:
    assert sorted(np.concatenate(drawn(Balance()))) == list(range(75))


def test_under_sampling_cuts_each_class_to_the_smallest_and_draws_anew() -> None:
    first, second = drawn(Balance(how="under")), drawn(Balance(how="under"), seed=1)
    assert counts(first) == [10, 10, 10]
    assert set(np.concatenate(first)) != set(np.concatenate(second))


def test_over_sampling_repeats_each_class_evenly_up_to_the_largest() -> None:
    films, times = np.unique(np.concatenate(drawn(Balance(how="over"))), return_counts=True)
    assert counts(drawn(Balance(how="over"))) == [40, 40, 40]
    assert len(films) == 75
    assert set(times[films < 10]) == {4}
    assert set(times[films >= 50]) == {1, 2}


def test_a_class_has_its_share_of_each_batch() -> None:
    batches = drawn(Balance(how="share", share={"covid-19": 0.3}), batch_size=10)
    assert all((Y[batch] == 0).sum() == 3 for batch in batches)
    others = np.concatenate([batch[Y[batch] != 0] for batch in batches])
    assert sorted(others) == list(range(10, 75))


def test_sources_weigh_the_same_within_a_class() -> None:
    films = np.concatenate(drawn(Balance(how="none", by_source=True)))
    for k in range(3):
        mine = SOURCES[films[Y[films] == k]]
        assert (mine == "small").sum() == (mine == "large").sum()


def test_class_weights_equal_scikit_learns() -> None:
    assert class_weights(Y, 3) == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=Y))


def test_class_weights_of_an_absent_class_are_refused() -> None:
    with pytest.raises(DataError, match="no film to train on"):
        class_weights(np.array([0, 0]), 2)


def test_a_last_batch_of_one_film_joins_the_one_before() -> None:
    batches = epoch_batches(Y[:17], SOURCES[:17], CLASSES[:2], Balance(), 8, np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [8, 9]


@pytest.mark.parametrize("how", ["none", "under", "over"])
def test_every_epoch_has_the_same_number_of_batches(how: str) -> None:
    balance = Balance(how=how)  # type: ignore[arg-type]
    assert len(drawn(balance, seed=5)) == batches_per_epoch(Y, SOURCES, CLASSES, balance, 8)


@pytest.mark.parametrize(
    ("share", "message"),
    [({"covid": 0.3}, "Did you mean 'covid-19'"), ({"covid-19": 0.5, "pneumonia": 0.3, "normal": 0.2}, "room for it")],
)
def test_shares_that_cannot_be_are_refused(share: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        drawn(Balance(how="share", share=share))
