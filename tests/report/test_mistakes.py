"""Error rates by group, against counts by hand, and the pages that show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hilum.evaluation.intervals import wilson_interval
from hilum.report.mistakes import error_rates
from hilum.report.page import write_report
from report.made_run import made_films, made_run


@pytest.fixture
def films() -> pd.DataFrame:
    """200 films, each of its own patient: one in ten wrong in PA views, one in two in AP."""
    n = 200
    ap = np.arange(n) >= 100
    wrong = np.where(ap, np.arange(n) % 2 == 0, np.arange(n) % 10 == 0)
    return pd.DataFrame(
        {
            "image_id": [f"film-{each}" for each in range(n)],
            "patient_id": [f"patient-{each}" for each in range(n)],
            "label": "ill",
            "predicted": np.where(wrong, "well", "ill"),
            "source": "one hospital",
            "view": np.where(ap, "AP", "PA"),
            "sex": pd.NA,
            "age_years": np.where(np.arange(n) % 4 == 0, np.nan, 50.0),
        }
    )


def test_each_group_has_its_wrong_films_and_the_interval_of_its_patients(films: pd.DataFrame) -> None:
    found = error_rates(films)
    view = next(each for each in found.groupings if each.what == "view")
    assert [(group.name, group.wrong, group.rate.n) for group in view.groups] == [("AP", 50, 100), ("PA", 10, 100)]
    # A film per patient: the share is worth so many films as there are (to the bootstrap's noise), so it is Wilson's.
    for group in view.groups:
        low, high = wilson_interval(group.wrong, 100)
        assert group.rate.low == pytest.approx(low, abs=0.025)
        assert group.rate.high == pytest.approx(high, abs=0.025)
    assert all(view.stands_out(group, found.overall.value) for group in view.groups)


def test_a_property_that_no_film_tells_is_named_and_no_group_is_made_up(films: pd.DataFrame) -> None:
    found = error_rates(films)
    assert found.untold == ["true class", "source", "sex", "age"]
    assert [each.what for each in found.groupings] == ["view"]


def test_films_that_do_not_tell_a_property_are_counted_as_unknown(films: pd.DataFrame) -> None:
    films.loc[films.index[:30], "view"] = pd.NA
    view = next(each for each in error_rates(films).groupings if each.what == "view")
    assert view.unknown == 30
    assert sum(group.rate.n for group in view.groups) == 170


def test_patients_whose_films_are_all_wrong_or_all_right_widen_the_interval(films: pd.DataFrame) -> None:
    alone = error_rates(films).overall
    films = films.sort_values("predicted").assign(patient_id=[f"patient-{each // 10}" for each in range(200)])
    ten_each = error_rates(films).overall
    # Ten films of one patient are worth one film: the interval is about the root of ten times as wide.
    assert 2.5 < (ten_each.high - ten_each.low) / (alone.high - alone.low) < 4


def test_the_report_shows_error_rates_and_the_command_for_maps(tmp_path: Path) -> None:
    run = made_run(tmp_path / "made", made_films(tmp_path / "films"), skill=1.0)
    page = write_report(run).read_text(encoding="utf-8")
    section = page[page.index('<section id="mistakes"') :]
    assert "Share of films misclassified" in section
    assert f"hilum mistakes {run} --part test" in section
    assert "hospital-b" in section
