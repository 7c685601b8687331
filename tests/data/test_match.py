"""Matching: what is left has one distribution in every class, and what was left out is counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hilum.data.match import match
from hilum.errors import DataError


def films(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """The ill are older and lie more often; of some nothing is known."""
    rng = np.random.default_rng(seed)
    ill = rng.random(n) < 0.3
    age = np.where(ill, rng.integers(40, 90, n), rng.integers(1, 90, n)).astype(float)
    age[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "image_id": [f"f{i:03d}" for i in range(n)],
            "class": np.where(ill, "ill", "well"),
            "age_years": pd.array(age, dtype="Float64"),
            "view": pd.array(np.where(rng.random(n) < np.where(ill, 0.7, 0.2), "AP", "PA"), dtype="string"),
            "sex": pd.array(np.where(rng.random(n) < 0.5, "F", "M"), dtype="string"),
            "source": "a",
        }
    )


def test_after_matching_the_classes_have_the_same_views_and_sexes_and_ages() -> None:
    found = match(films(), ["age", "view", "sex"]).manifest
    decade = found["age_years"].astype(float) // 10
    table = pd.crosstab([decade.clip(lower=3), found["view"], found["sex"]], found["class"])
    assert (table["ill"] == table["well"]).all()
    assert len(found) > 50


def test_every_film_is_kept_or_counted_with_its_reason() -> None:
    rows = films()
    found = match(rows, ["age", "view"])
    assert len(found.manifest) + sum(found.left.values()) == len(rows)
    assert found.left["age is unknown, so the film cannot be matched"] == rows["age_years"].isna().sum()
    assert f"{len(rows) - len(found.manifest)} of 400 films were left out" in found.note


def test_the_same_films_are_kept_in_any_order() -> None:
    rows = films()
    kept, turned = (set(match(each, ["view"]).manifest["image_id"]) for each in (rows, rows.iloc[::-1]))
    assert kept == turned


def test_children_against_adults_cannot_be_matched_and_the_error_says_so() -> None:
    rows = films().assign(age_years=lambda f: pd.array([3.0 if c == "well" else 60.0 for c in f["class"]], "Float64"))
    with pytest.raises(DataError, match="cannot tell the classes from age"):
        match(rows, ["age"])
