"""Concepts on patches whose truth is known: a white marker that decides the class, and noise that decides nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hilum.explain.concepts import (
    FEW_PATIENTS,
    Patches,
    clustered,
    concepts,
    enlarged,
    hidden,
    log_odds,
    sample,
    squares,
)

SIDE, FILMS = 30, 40
CUT = squares(SIDE)
MARKED = next(number for number, each in enumerate(CUT) if each.cut == 5 and each.top == each.left == 0)


@pytest.fixture
def films() -> pd.DataFrame:
    return pd.DataFrame({"image_id": [f"film-{each}" for each in range(FILMS)], "patient_id": pd.NA})


@pytest.fixture
def patches() -> Patches:
    """The top left fifth has features of its own, and hiding it takes 2 +- 0.1 log odds of the first class."""
    random = np.random.default_rng(0)
    count = FILMS * len(CUT)
    film, square = np.divmod(np.arange(count), len(CUT))
    features = np.abs(random.normal(0, 0.1, (count, 6))) + np.eye(6)[1 + square % 3]
    features[square == MARKED] = np.eye(6)[5] + 0.01
    lost = random.normal(0, 0.1, (count, 2))
    lost[square == MARKED, 0] += 2.0
    lost[:, 1] = -lost[:, 0]
    return Patches(film, square, features.astype(np.float32), lost)


def test_the_patch_that_decides_the_class_is_the_strongest_concept(patches: Patches, films: pd.DataFrame) -> None:
    found, rare = concepts(patches, films, CUT, ["ill", "well"], count=6, seed=0)
    first = found[0]
    assert set(patches.square[first.patches]) == {MARKED}
    assert first.patients == FILMS
    assert first.effects["ill"].speaks == "for"
    assert first.effects["well"].speaks == "against"
    assert first.effects["ill"].beyond == pytest.approx(2.0, abs=0.1)
    assert rare == 0


def test_noise_speaks_for_no_class(patches: Patches, films: pd.DataFrame) -> None:
    silent = Patches(
        patches.film, patches.square, patches.features, np.random.default_rng(5).normal(0, 1, patches.lost.shape)
    )
    found, _ = concepts(silent, films, CUT, ["ill", "well"], count=6, seed=0)
    assert [effect.speaks for each in found for effect in each.effects.values()] == [""] * 2 * len(found)


def test_the_effect_is_student_s_t_over_patients_of_paired_differences(patches: Patches, films: pd.DataFrame) -> None:
    found, _ = concepts(patches, films, CUT, ["ill", "well"], count=6, seed=0)
    fifths = [number for number, each in enumerate(CUT) if each.cut == 5 and number != MARKED]
    lost = patches.lost[:, 0].reshape(FILMS, len(CUT))
    expected = stats.ttest_1samp(lost[:, MARKED] - lost[:, fifths].mean(1), 0)
    interval = expected.confidence_interval(0.95)
    effect = found[0].effects["ill"]
    assert effect.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))


def test_two_films_of_a_patient_are_one(patches: Patches, films: pd.DataFrame) -> None:
    halved = films.assign(patient_id=[f"patient-{each // 2}" for each in range(FILMS)])
    found, _ = concepts(patches, halved, CUT, ["ill", "well"], count=6, seed=0)
    assert found[0].patients == FILMS // 2
    assert len(found[0].films) == FILMS


def test_a_kind_of_patch_of_few_patients_is_counted_and_not_judged(patches: Patches, films: pd.DataFrame) -> None:
    few = films.assign(patient_id=[f"patient-{each % (FEW_PATIENTS - 1)}" for each in range(FILMS)])
    found, rare = concepts(patches, few, CUT, ["ill", "well"], count=6, seed=0)
    assert found == []
    assert rare > 0


def test_the_same_seed_gives_the_same_concepts(patches: Patches) -> None:
    once, again = (clustered(patches.features, 6, seed=3) for _ in range(2))
    assert once[0].tolist() == again[0].tolist()
    assert once[1].tolist() == again[1].tolist()


def test_where_a_concept_lies_is_the_share_of_films_that_have_it_there(patches: Patches, films: pd.DataFrame) -> None:
    found, _ = concepts(patches, films, CUT, ["ill", "well"], count=6, seed=0)
    where = found[0].where
    assert where[:6, :6].min() == 1.0
    assert where[6:].max() == where[:, 6:].max() == 0.0


def test_the_squares_of_each_size_cover_the_film_once() -> None:
    for side in (224, 75, 64):
        for cut in (2, 3, 5):
            covered = np.zeros((side, side), int)
            for each in squares(side, [cut]):
                covered[each.top : each.bottom, each.left : each.right] += 1
            assert (covered == 1).all()


def test_a_hidden_square_has_the_film_s_mean_and_the_rest_is_untouched() -> None:
    film = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    made = hidden(film, CUT)
    assert (made[0] == film).all()
    for each, other in zip(CUT, made[1:], strict=True):
        inside = np.zeros((SIDE, SIDE), bool)
        inside[each.top : each.bottom, each.left : each.right] = True
        assert (other[inside] == round(float(film.mean()))).all()
        assert (other[~inside] == film[~inside]).all()


def test_an_enlarged_square_shows_that_square_alone() -> None:
    film = np.zeros((SIDE, SIDE), np.uint8)
    film[:6, :6] = 200
    made = enlarged(film, CUT)
    assert made.shape == (len(CUT), SIDE, SIDE)
    assert (made[MARKED] == 200).all()
    assert made[-1].max() == 0


def test_log_odds_stay_finite_where_a_probability_is_one_to_the_last_digit() -> None:
    z = np.array([[200.0, 0.0, -5.0]])
    assert log_odds(z)[0, 0] == pytest.approx(200.0 - np.logaddexp(0.0, -5.0))
    p = np.exp([1.0, 0.5, -1.0]) / np.exp([1.0, 0.5, -1.0]).sum()
    np.testing.assert_allclose(log_odds(np.array([[2.0, 1.0, -2.0]]), 2.0)[0], np.log(p / (1 - p)))


def test_a_sample_takes_from_each_class_alike_and_the_rest_where_a_class_is_small() -> None:
    films = pd.DataFrame({"image_id": [str(each) for each in range(100)], "label": ["a"] * 5 + ["b"] * 15 + ["c"] * 80})
    drawn = sample(films, 40, ["a", "b", "c"], seed=0)
    assert drawn["label"].value_counts().to_dict() == {"c": 20, "b": 15, "a": 5}
    assert drawn["image_id"].is_unique
    assert sample(films, 40, ["a", "b", "c"], seed=0).equals(drawn)
    assert len(sample(films, 1000, ["a", "b", "c"], seed=0)) == 100
