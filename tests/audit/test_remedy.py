"""Two audits side by side: what became better is called so, what chance may have done is not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from hilum.audit.limits import LIMITS
from hilum.audit.remedy import changes, in_short
from hilum.audit.run import audit_data
from hilum.audit.verdict import Check
from hilum.data.collect import with_facts
from hilum.data.phantom import Shortcut, collection, write
from hilum.recipe.schema import Prepare
from hilum.report.audit import write_changes


def checked(name: str, value: float | None, half: float | None = None, verdict: str = "fail") -> dict[str, Any]:
    bounds = {} if value is None or half is None else {"low": value - half, "high": value + half}
    return Check(name, verdict, "Said.", LIMITS[name], value=value, n=100, **bounds).as_json()  # type: ignore[arg-type]


def test_the_interval_of_a_change_has_both_intervals_at_a_right_angle() -> None:
    [change] = changes([checked("label-from-border", 0.9, 0.03)], [checked("label-from-border", 0.6, 0.04)])
    assert change.difference == pytest.approx(-0.3)
    assert (change.low, change.high) == (pytest.approx(-0.35), pytest.approx(-0.25))  # 0.05 = hypot(0.03, 0.04)
    assert change.outcome == "better"


def test_what_chance_may_have_done_is_no_clear_change_and_a_count_needs_no_interval() -> None:
    before = [checked("label-from-border", 0.70, 0.05), checked("patients-in-two-parts", 3.0)]
    after = [checked("label-from-border", 0.66, 0.05), checked("patients-in-two-parts", 0.0, verdict="pass")]
    outcomes = {change.check: change.outcome for change in changes(before, after)}
    assert outcomes == {"label-from-border": "no clear change", "patients-in-two-parts": "better"}


def test_a_check_that_one_audit_could_not_make_cannot_be_compared() -> None:
    found = changes(
        [checked("age-and-label", None)], [checked("age-and-label", 0.8, 0.1), checked("sex-and-label", 0.6, 0.1)]
    )
    assert [change.outcome for change in found] == ["cannot be compared"] * 2
    assert in_short(found) == "2 cannot be compared"


def test_the_page_shows_both_values_the_difference_and_its_interval(tmp_path: Path) -> None:
    found = changes([checked("label-from-border", 0.9, 0.03)], [checked("label-from-border", 0.6, 0.04, "warn")])
    write_changes(found, tmp_path / "changes.html", names=["before", "after"])
    page = (tmp_path / "changes.html").read_text()
    for text in ("Label from the border", "0.900 [0.870, 0.930]", "-0.300", "[-0.350, -0.250]", "better", "warn"):
        assert text in page


@pytest.mark.slow
def test_letters_that_are_blanked_in_preparation_tell_no_class_any_more(tmp_path: Path) -> None:
    planted = collection(60, seed=5, side_px=96, shortcuts=[Shortcut("marker", 0.9, "normal")])
    films, _ = with_facts(write(planted, tmp_path / "films", masks=False))
    as_seen = [audit_data(films, None, Prepare(side_px=96, blank=blank)) for blank in ([], ["text", "corners"])]
    told = [next(check for check in checks if check.name == "label-from-text") for checks in as_seen]
    assert told[0].verdict == "fail"
    assert told[1].verdict == "pass"
    assert not math.isnan(told[1].value or math.nan)
