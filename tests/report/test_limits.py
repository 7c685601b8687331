"""What a model may not be used for, by the films it was made with."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hilum.data.manifest import conform
from hilum.report.limits import limits


def films(**columns: Any) -> pd.DataFrame:
    """120 films of 120 patients, half ill and half well, in two sources, both views, both sexes, all adults."""
    n = 120
    base = {
        "image_id": [f"s/{i}" for i in range(n)],
        "path": [f"{i}.png" for i in range(n)],
        "class": ["ill", "well"] * (n // 2),
        "label": ["ill", "well"] * (n // 2),
        "patient_id": [f"s/p{i}" for i in range(n)],
        "source": ["a", "a", "b", "b"] * (n // 4),
        "view": ["PA", "PA", "AP", "AP", "lateral", "lateral"] * (n // 6),
        "sex": ["F", "F", "M", "M"] * (n // 4),
        "age_years": [40.0] * n,
        "part": ["test"] * n,
    }
    return conform(pd.DataFrame(base | columns))


def shorts(table: pd.DataFrame) -> list[str]:
    return [limit.short for limit in limits(table, ["ill", "well"])]


def test_films_of_adults_only_are_not_for_children() -> None:
    assert "Not for children" in shorts(films())
    assert "Not for adults" not in shorts(films())


def test_films_of_children_only_are_not_for_adults() -> None:
    assert "Not for adults" in shorts(films(age_years=[3.0] * 120))


def test_children_against_adults_is_said() -> None:
    told = limits(films(age_years=[60.0, 4.0] * 60), ["ill", "well"])
    (age,) = [limit for limit in told if "ages apart" in limit.short]
    assert "4 years in well and 60 in ill" in age.because


def test_unknown_ages_are_said_and_nothing_is_made_of_the_few_known() -> None:
    found = shorts(films(age_years=[3.0] + [None] * 119))
    assert "Ages are largely unknown" in found
    assert "Not for adults" not in found


def test_a_view_that_is_not_there_is_named() -> None:
    assert "Not for AP or lateral views" in shorts(films(view=["PA"] * 120))
    assert not [short for short in shorts(films()) if "view" in short.lower()]


def test_one_source_per_class_is_said_with_its_counts() -> None:
    told = limits(films(source=["a", "b"] * 60), ["ill", "well"])
    (source,) = [limit for limit in told if "reading the source" in limit.short]
    assert source.because == "By source alone: 60 of 60 ill films are a, and 0 of 60 others."


def test_a_class_of_one_source_is_told_apart_among_many_classes() -> None:
    # As cohen and kermany together: all covid-19 films from one collection, and 4 of the 90 others.
    table = films()
    table["class"] = pd.Series(["covid-19"] * 30 + ["normal"] * 45 + ["viral"] * 45, dtype="string")
    table["source"] = pd.Series(["cohen"] * 34 + ["kermany"] * 86, dtype="string")
    (source,) = [limit for limit in limits(table, ["covid-19", "normal", "viral"]) if "the source" in limit.short]
    assert "30 of 30 covid-19 films are cohen, and 4 of 90 others" in source.because


def test_sources_with_the_same_mix_are_not_accused() -> None:
    assert not [short for short in shorts(films()) if "reading the" in short]


def test_a_file_format_that_names_the_class_is_said() -> None:
    assert "The model may be reading the format of a film, not its finding" in shorts(
        films(format=["png", "jpeg"] * 60)
    )


def test_few_patients_are_counted_as_patients_and_not_as_films() -> None:
    table = films(patient_id=[f"s/p{i % 60}" for i in range(120)])  # 30 patients of each class, two films each
    (few,) = [limit for limit in limits(table, ["ill", "well"]) if "rough" in limit.short]
    assert "ill (30) and well (30)" in few.because
    assert not [short for short in shorts(films()) if "rough" in short]


def test_a_run_without_a_test_part_is_not_judged() -> None:
    assert "Not judged" in shorts(films(part=["train"] * 120))


def test_the_care_of_patients_is_always_excluded() -> None:
    assert shorts(films())[0] == "Not for the care of patients"
