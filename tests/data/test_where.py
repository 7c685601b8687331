"""The filter language."""

from __future__ import annotations

import pandas as pd
import pytest

from hilum.data.where import mask, where
from hilum.errors import DataError, RequestError

FILMS = pd.DataFrame(
    {
        "view": pd.Series(["PA", "AP", None, "PA"], dtype="string"),
        "age_years": pd.Series([4, 60, 50, None], dtype="Float64"),
        "width": pd.Series([100, 200, 300, 400], dtype="Int64"),
        "height": pd.Series([200, 100, 300, None], dtype="Int64"),
        "class": pd.Series(["a", "b", "a", "b"], dtype="string"),
        "pO2 saturation": pd.Series(["58", None, "90", "91"], dtype="string"),
        "seen": [True, False, True, False],
        "sex": pd.Series([None] * 4, dtype="string"),
    }
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ('view == "PA"', [0, 3]),
        ("view == 'PA'", [0, 3]),
        ('view != "PA"', [1]),  # a missing view is neither
        ('not view == "PA"', [1]),
        ('not (view == "PA") or missing(view)', [1, 2]),
        ("missing(view)", [2]),
        ("not missing(age_years)", [0, 1, 2]),
        ("age_years >= 18", [1, 2]),
        ("18 <= age_years < 60", [2]),
        ("age_years > -1 and view == 'PA'", [0]),
        ('view == "PA" or age_years < 55', [0, 2, 3]),  # true whatever the missing one is
        ('view in ["AP", "lateral"]', [1]),
        ('view not in ("AP", "lateral")', [0, 3]),
        ("width in [100, 300]", [0, 2]),
        ("width > height", [1]),
        ("width == height", [2]),
        ('class == "b"', [1, 3]),
        ('`class` == "b" and view == "class"', []),
        ('`pO2 saturation` == "90"', [2]),
        ("seen", [0, 2]),
        ("not seen", [1, 3]),
        ("seen == True", [0, 2]),
        ("missing(sex)", [0, 1, 2, 3]),
        ('sex == "F"', []),
        (' view == "PA"\n', [0, 3]),
    ],
)
def test_an_expression_chooses_these_rows(expression, rows):
    assert mask(FILMS, expression).to_numpy().nonzero()[0].tolist() == rows


def test_an_empty_filter_keeps_every_row_and_the_counts_of_the_reader():
    films = FILMS.copy()
    films.attrs["left_out"] = [("rows", 1)]
    assert len(where(films, " ")) == 4
    assert where(films, 'view == "PA"').attrs["left_out"] == [("rows", 1)]


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ('veiw == "PA"', "no column 'veiw'. Did you mean 'view'"),
        ("view == PA", "no column 'PA'"),
        ('view = "PA"', "two signs, =="),
        ('view == "PA" & width > 3', "words and, or"),
        ("age_years >= '18'", "age_years is a number and '18' is text"),
        ("view == 3", "view is text and 3 is a number"),
        ("view in [1]", "view is text and 1 is a number"),
        ('view in "PA"', "in is written"),
        ("view", "no condition"),
        ("3 < 4", "no columns"),
        ("view is None", r"missing\(column\)"),
        ("view ==", "no filter"),
        ("isna(view)", r"'isna' is not known; there is missing\(column\)"),
        ("not view", "'view' is no condition"),
    ],
)
def test_what_is_no_filter_is_refused_with_what_to_write(expression, complaint):
    with pytest.raises(RequestError, match=complaint):
        where(FILMS, expression)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch hacked')",
        "view.str.len() > 0",
        "[x for x in view]",
        "(lambda: 1)() == width",
        "f'{view}' == view",
        "width ** 9 ** 9 > 0",
        "exec('1')",
        "missing(view, width)",
        "(x := width) > 1",
        "view[0] == 'PA'",
        "{1: width}",
        "width > 1 if seen else seen",
    ],
)
def test_nothing_but_comparisons_can_run(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError):
        where(FILMS, expression)
    assert list(tmp_path.iterdir()) == []


def test_a_deeply_nested_expression_is_refused_and_does_not_end_the_program():
    with pytest.raises(RequestError):
        where(FILMS, "(" * 5000 + "seen" + ")" * 5000)
    with pytest.raises(RequestError):
        where(FILMS, "not " * 20000 + "seen")


def test_a_filter_that_leaves_nothing_says_what_there_is():
    with pytest.raises(DataError, match=r"none of the 4 films.*view holds PA \(2\), AP \(1\), missing \(1\)"):
        where(FILMS, 'view == "pa"')
    with pytest.raises(DataError, match=r"age_years goes from 4 to 60, missing \(1\)"):
        where(FILMS, "age_years > 90")
    with pytest.raises(DataError, match="sex is missing throughout"):
        where(FILMS, 'sex == "F"')
