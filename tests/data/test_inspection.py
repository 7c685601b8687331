"""What a collection says about how far to trust what is learned from it."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy.stats.contingency import association as scipy_association

from hilum.data import duplicates
from hilum.data.confounding import association, only_there, told_apart, without_rare
from hilum.data.inspection import Inspection, inspect
from hilum.data.manifest import conform
from hilum.data.overlaps import overlaps, repeats
from hilum.data.summary import Range, films_per_patient, missing


def manifest(**columns: object) -> pd.DataFrame:
    """Films 0 to n - 1 with the given columns."""
    n = len(next(iter(columns.values())))  # type: ignore[call-overload]
    ids = [f"x/{number}" for number in range(n)]
    given = {"image_id": ids, "path": [f"{number}.png" for number in range(n)], "label": "normal", "source": "x"}
    return conform(pd.DataFrame(given | columns))


def whats(found: Inspection) -> list[str]:
    return [caution.what for caution in found.cautions]


def test_a_label_whose_sources_have_nothing_else_is_the_first_caution() -> None:
    films = manifest(label=["covid-19"] * 3 + ["normal", "pneumonia/viral"], source=["a", "a", "b", "c", "c"])
    assert whats(inspect(films))[0] == "Every covid-19 film comes from a and b, which hold nothing else"


def test_a_source_that_has_two_labels_is_no_caution() -> None:
    films = manifest(label=["ill", "well"] * 20, source=["a", "a", "b", "b"] * 10)
    assert not [what for what in whats(inspect(films)) if "comes from" in what or "source" in what]


def test_subtypes_of_one_label_are_no_contradiction_and_two_labels_are() -> None:
    films = manifest(label=["pneumonia", "pneumonia/viral", "covid-19"], sha256=["1f", "1f", "1f"])
    found = repeats(films, duplicates.find(films))
    assert (found.exact_pairs, found.pictures, found.extra_films) == (3, 1, 2)
    assert found.pairs_of_two_labels == 2
    assert found.examples_of_two_labels == [("x/0", "x/2"), ("x/1", "x/2")]


def test_films_and_patients_in_two_collections_are_counted_on_both_sides() -> None:
    films = manifest(
        source=["a", "a", "b", "b"],
        path=["1.png", "scan-of-ann-1.png", "scan-of-ann-1.png", "2.png"],
        patient_id=["a/ann", "a/ann", None, "b/bob"],
        sha256=["1f", "2e", "1f", "1f"],
    )
    (one,) = overlaps(films, films["source"], duplicates.find(films))
    assert (one.a, one.b, one.films_a, one.films_b) == ("a", "b", 1, 2)
    assert (one.patients_a, one.patients_b, one.exact_pairs, one.same_names) == (1, 1, 2, 1)


def test_one_patient_id_in_two_collections_is_an_overlap_without_a_film() -> None:
    films = manifest(source=["a", "b"], patient_id=["ann", "ann"])
    (one,) = overlaps(films, films["source"], pd.DataFrame({"image_id_a": [], "image_id_b": [], "kind": []}))
    assert (one.films_a, one.patients_a, one.patients_b) == (0, 1, 1)


def test_association_is_that_of_scipy() -> None:
    sources = pd.Series(["a"] * 8 + ["b"] * 7 + ["c"] * 5)
    labels = pd.Series(["ill"] * 6 + ["well"] * 2 + ["well"] * 5 + ["odd"] * 2 + ["odd"] * 5)
    found = association(sources, labels)
    table = pd.crosstab(sources, labels).to_numpy()
    assert found.cramers_v == pytest.approx(scipy_association(table, method="cramer"))
    assert (found.sources, found.of_one_label, found.n) == (3, ["c"], 20)


def test_association_of_one_source_is_missing_and_not_zero() -> None:
    assert association(pd.Series(["a", "a"]), pd.Series(["ill", "well"])).cramers_v is None


def test_what_tells_a_label_apart_is_counted_by_hand() -> None:
    kind = pd.Series(["png"] * 9 + ["jpeg"] + ["jpeg"] * 19 + ["png"])
    labels = pd.Series(["ill"] * 10 + ["well"] * 20)
    (told,) = told_apart(kind, labels)
    assert (told.label, told.commoner_in, told.hits, told.of, told.false, told.others) == ("ill", ["png"], 9, 10, 1, 20)
    assert told.balanced_accuracy == pytest.approx((0.9 + 0.95) / 2)
    assert not told_apart(kind, labels, least=0.93)


def test_a_size_of_each_film_its_own_tells_nothing() -> None:
    own = pd.Series([f"{n} x {n}" for n in range(40)], dtype="string")
    assert not told_apart(without_rare(own), pd.Series(["ill", "well"] * 20))


def test_a_label_that_shares_one_of_its_sources_does_not_stand_alone() -> None:
    assert only_there(pd.Series(["a", "b", "b"]), pd.Series(["ill", "ill", "well"])) == {}


def test_films_of_a_patient_are_counted_and_two_labels_named() -> None:
    films = manifest(label=["ill", "well", "ill", "ill"], patient_id=["ann", "ann", "bob", None])
    found = films_per_patient(films)
    assert found is not None
    assert (found.patients, found.most, found.patient_with_most) == ({1: 1, 2: 1}, 2, "ann")
    assert (found.of_two_labels, found.example_of_two_labels) == (1, "ann")


def test_missing_values_are_counted_by_source_for_the_sources_own_columns_too() -> None:
    films = manifest(source=["a", "a", "b"], sex=["F", None, None], survival=["Y", None, None])
    found = {one.column: one for one in missing(films)}
    assert (found["sex"].missing, found["sex"].of, found["sex"].by_source) == (2, 3, {"a": 1, "b": 1})
    assert found["survival"].missing == 2
    assert "sha256" not in found  # which hilum fills in, no source


def test_ages_that_differ_between_labels_are_told_with_their_medians() -> None:
    films = manifest(label=["child"] * 10 + ["adult"] * 10, age_years=[3.0] * 10 + [60.0] * 10)
    told = next(one for one in inspect(films).cautions if one.what == "Age tells labels apart")
    assert "3 years in child (n = 10) and 60 in adult (n = 10)" in told.because


def test_ct_lateral_unlabelled_and_small_labels_are_told() -> None:
    films = manifest(
        label=["ill", "ill", "well", None], view=["PA", "lateral", "PA", "PA"], modality=["CT", "X-ray", None, "X-ray"]
    )
    said = whats(inspect(films))
    assert "1 of 4 films are CT slices" in said
    assert "1 of 4 films are lateral views" in said
    assert "1 of 4 films have no label" in said
    assert "Fewer than 10 patients have well (1) and ill (2)" in said


def test_a_published_split_that_leaks_is_told() -> None:
    films = manifest(patient_id=["ann", "ann"], split=["train", "test"], sha256=["1f", "1f"])
    found = inspect(films)
    assert found.split_leaks == {"patient": 1, "exact duplicate": 1}
    assert any("published split leaks" in what for what in whats(found))


def test_nothing_of_the_files_is_said_where_nobody_looked() -> None:
    found = inspect(manifest(label=["ill", "well"]))
    assert (found.duplicates, found.split_leaks, found.sizes_px) == (None, None, None)
    assert found.labels[0].age_years is None and found.labels[0].films_per_patient is None


def test_an_inspection_is_json() -> None:
    import json

    found = inspect(manifest(label=["ill", "well"], age_years=[3.0, None]))
    answer = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert {one["label"]: one["age_years"] for one in answer["labels"]} == {
        "ill": {"n": 1, "min": 3.0, "median": 3.0, "max": 3.0},
        "well": None,
    }
    assert found.labels[0].age_years == Range(1, 3.0, 3.0, 3.0)


@pytest.mark.real
def test_the_counts_of_the_real_collections_are_those_of_their_data_sheet(shared) -> None:
    from hilum.data.collect import with_facts
    from hilum.data.sources import read

    films, _ = with_facts(read(shared / "data" / "cohen", shared / "data" / "darkcovidnet"))
    found = inspect(films)
    table = found.by_label["source"]
    nih = {label: row["darkcovidnet/nih"] for label, row in table.items() if "darkcovidnet/nih" in row}
    assert nih == {"normal": 500, "pneumonia": 500}
    assert table["covid-19"]["darkcovidnet/cohen"] == 124
    assert sum(row.get("cohen", 0) for row in table.values()) == 711  # 716 rows, five of them for a film again
    both = next(one for one in found.overlaps if {one.a, one.b} == {"cohen", "darkcovidnet/cohen"})
    assert both.same_names == 120  # of 124; the four others are not in this copy of cohen
    nih_patients = films_per_patient(films[films["source"] == "darkcovidnet/nih"])
    assert nih_patients is not None and nih_patients.of_two_labels == 21
