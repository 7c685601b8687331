"""The spread over folds against numpy, and which notes are said once."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.evaluation.folds import shared_notes, spread


def test_the_spread_is_that_of_a_sample_and_leaves_out_what_is_undefined() -> None:
    values = [0.91, 0.83, None, 0.88]
    found = spread([{"test": {"recall/ill": {"value": value}}} for value in values])["recall/ill"]
    known = [0.91, 0.83, 0.88]
    assert found["values"] == values
    assert found["mean"] == pytest.approx(np.mean(known))
    assert found["sd"] == pytest.approx(np.std(known, ddof=1))


def test_one_value_has_no_spread_and_none_has_no_mean() -> None:
    one = spread([{"test": {"f": {"value": 0.5}}}, {"test": {"f": {"value": None}}}, {"test": {}}])["f"]
    assert (one["mean"], one["sd"], one["values"]) == (0.5, None, [0.5, None, None])
    none = spread([{"test": {"f": {"value": None}}}])["f"]
    assert (none["mean"], none["sd"]) == (None, None)


def test_what_all_folds_say_is_said_once_and_the_rest_with_its_fold() -> None:
    notes = [["same", "leaks: 3"], ["same", "leaks: 5", "not calibrated: no film is wrong"], ["leaks: 3", "same"]]
    assert shared_notes(notes) == [
        "same",
        "fold 0: leaks: 3 (and alike in each fold)",
        "fold 1: not calibrated: no film is wrong",
    ]


def test_no_notes_are_no_notes() -> None:
    assert shared_notes([[], []]) == []
