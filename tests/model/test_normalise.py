"""Normalisation by the train part, against Keras' formulas written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.errors import RequestError
from hilum.model.classifier import build, fit_normalisation, load, save
from hilum.model.normalise import Normalise, check_zca
from hilum.recipe.schema import Model, Prepare


def films(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)


def whole(batch: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(batch)[:, None].double() / 255.0


def keras_zca(train: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Chollet et al., keras-preprocessing 1.1, `ImageDataGenerator.fit` and `standardize`, for one channel."""
    x, z = (batch.reshape(len(batch), -1) / 255.0 for batch in (train, shown))
    mean, std = x.mean(), x.std() + 1e-6
    x, z = (x - mean) / std, (z - mean) / std
    sigma = x.T @ x / len(x)
    u, s, _ = np.linalg.svd(sigma)
    whitening = u @ np.diag(1.0 / np.sqrt(s + 1e-6)) @ u.T
    return (z @ whitening.T).reshape(shown.shape)


def test_featurewise_gives_the_train_part_mean_0_and_spread_1() -> None:
    train = films(10, 8)
    normalise = Normalise(64, whiten=False)
    normalise.fit([train[:4], train[4:]])
    z = normalise(whole(train))
    assert float(z.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(z.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    assert float(normalise.mean) == pytest.approx(train.mean() / 255.0)
    assert float(normalise.spread) == pytest.approx(train.std() / 255.0, abs=1e-5)


@pytest.mark.parametrize("count", [12, 200], ids=["fewer films than pixels", "more films than pixels"])
def test_zca_is_that_of_keras_on_films_it_was_fitted_on_and_on_others(count: int) -> None:
    train, others = films(count, 8), films(5, 8, seed=1)
    normalise = Normalise(64, whiten=True).double()
    normalise.fit([train])
    for shown in (train, others):
        expected = keras_zca(train, shown)
        found = normalise(whole(shown))[:, 0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_zca_in_single_precision_is_close_to_that() -> None:
    train = films(12, 8)
    normalise = Normalise(64, whiten=True)
    normalise.fit([train])
    np.testing.assert_allclose(normalise(whole(train).float())[:, 0].numpy(), keras_zca(train, train), atol=5e-3)


def test_whitened_train_films_have_no_correlation_left() -> None:
    train = films(400, 4)
    normalise = Normalise(16, whiten=True).double()
    normalise.fit([train])
    z = normalise(whole(train)).flatten(1)
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(16, dtype=torch.float64), atol=1e-4, rtol=0)


def test_zca_of_150_px_needs_no_matrix_of_all_pixels() -> None:
    normalise = Normalise(150**2, whiten=True)
    normalise.fit([films(6, 150)])
    assert normalise.directions.shape == (22500, 6)


def test_whitening_does_not_lose_its_small_differences_to_bfloat16() -> None:
    train = films(6, 8)
    normalise = Normalise(64, whiten=True)
    normalise.fit([train])
    expected = normalise(whole(train).float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(normalise(whole(train).float()), expected)


@pytest.mark.parametrize("kind", ["featurewise", "zca"])
def test_what_was_fitted_comes_back_from_the_weights_file(kind: str, tmp_path: Path) -> None:
    model = Model(backbone="resnet10t", weights="none", normalise=kind)  # type: ignore[arg-type]
    classifier = build(model, ["a", "b"], side_px=32, seed=0)
    fit_normalisation(classifier, [films(5, 32)])
    shown = whole(films(2, 32, seed=1)).float()
    with torch.inference_mode():
        normalised = classifier.normalise(shown)
        # The backbone gets what was fitted, and nothing else is taken off.
        assert torch.equal(classifier.grey(normalised), normalised)
        save(classifier, tmp_path / "w.safetensors", Prepare(side_px=32))
        again, _ = load(tmp_path / "w.safetensors")
        assert torch.equal(again(shown), classifier(shown))
    assert again.architecture.normalise == kind


def test_a_whitening_too_large_for_a_weights_file_is_refused_before_the_run() -> None:
    check_zca(1900, 224)
    with pytest.raises(RequestError, match=r"5,000 train films of 224 px.*data.per_class"):
        check_zca(5000, 224)
