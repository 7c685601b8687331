"""Parts and folds: nothing on two sides, shares, stability, what is published, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED
from hilum.data import duplicates, sources
from hilum.data.collect import with_facts
from hilum.data.groups import quotas
from hilum.data.manifest import conform, write_manifest
from hilum.data.split import Splitted, find_leaks, fold_count, split
from hilum.errors import DataError, RequestError
from hilum.image.fingerprint import perceptual_hash
from hilum.recipe.schema import Split

CLASSES = ("covid-19", "normal", "pneumonia")


def table(rows: list[dict]) -> pd.DataFrame:
    """A manifest of hand-written rows; what a row leaves out gets a value of its own."""
    films = pd.DataFrame(rows).reset_index(drop=True)
    number = pd.Series([f"{n:04d}" for n in films.index], dtype="string")
    own = {"image_id": "x/" + number, "path": number + ".png", "label": "normal", "source": "x", "sha256": "f" + number}
    for name, value in own.items():
        films[name] = films[name].fillna(pd.Series(value, index=films.index)) if name in films else value
    films["class"] = films["label"]
    return conform(films)


def clinic(patients: int, *, each: int = 1, label: str = "normal", name: str = "x") -> list[dict]:
    """Films of several patients, `each` of every patient."""
    return [
        {
            "image_id": f"{name}/{label}{p}-{k}",
            "sha256": f"{name}{label}{p}-{k}",
            "patient_id": f"{name}/{label}{p}",
            "label": label,
            "source": name,
        }
        for p in range(patients)
        for k in range(each)
    ]


def parts(splitted: Splitted) -> dict[str, str]:
    return dict(zip(splitted.manifest["image_id"], splitted.manifest["part"], strict=True))


def sizes(splitted: Splitted) -> dict[str, int]:
    return {part: int((splitted.manifest["part"] == part).sum()) for part in ("train", "validation", "test")}


@st.composite
def any_manifest(draw: st.DrawFn, films: int = 60) -> pd.DataFrame:
    """Any table: patients of many films, of none, duplicates within and between patients and classes."""
    count = draw(st.integers(12, films))
    many = draw(st.integers(1, count))
    numbers = st.lists(st.integers(0, many), min_size=count, max_size=count)
    patient, content = draw(numbers), draw(numbers)
    label = draw(st.lists(st.sampled_from(CLASSES), min_size=count, max_size=count))
    copies = draw(st.booleans())
    rows = [
        {"patient_id": f"x/{p}" if p else None, "label": c, "sha256": f"s{s}" if copies and s % 3 == 0 else f"own{n}"}
        for n, (p, s, c) in enumerate(zip(patient, content, label, strict=True))
    ]
    # Enough patients of each class that no class is refused.
    return table(rows + [row for c in CLASSES for row in clinic(6, label=c)])


def no_group_is_divided(manifest: pd.DataFrame) -> bool:
    one_part = manifest.dropna(subset="patient_id").groupby("patient_id")["part"].nunique().le(1).all()
    return bool(one_part and manifest.groupby("sha256")["part"].nunique().le(1).all())


# Whatever the table


@settings(max_examples=40, deadline=None)
@given(any_manifest(), st.integers(0, 5))
def test_a_patient_or_duplicate_is_never_on_both_sides_of_a_split(films: pd.DataFrame, seed: int) -> None:
    result = split(films, Split(scheme="patient", seed=seed))
    assert no_group_is_divided(result.manifest)
    assert result.leaks.empty
    assert not result.leaky
    assert result.manifest["image_id"].tolist() == films["image_id"].tolist()


@settings(max_examples=15, deadline=None)
@given(any_manifest(), st.integers(2, 5))
def test_a_patient_or_duplicate_is_never_in_two_folds(films: pd.DataFrame, folds: int) -> None:
    results = [split(films, Split(folds=folds, fold=fold)).manifest for fold in range(folds)]
    assert all(no_group_is_divided(result) for result in results)
    assert all((result["fold"] == results[0]["fold"]).all() for result in results)
    for fold, result in enumerate(results):
        assert ((result["part"] == "test") == (result["fold"] == fold)).all()
        assert set(result["part"]) == {"train", "validation", "test"}


@settings(max_examples=12, deadline=None)
@given(any_manifest(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_place_of_files_do_not_matter(films: pd.DataFrame, random) -> None:
    order = list(range(len(films)))
    random.shuffle(order)
    moved = films.iloc[order].assign(path="/elsewhere/" + films["path"])
    for how in (Split(scheme="patient"), Split(folds=3, fold=1), Split(scheme="random", leaks="allow")):
        assert parts(split(films, how)) == parts(split(moved, how))


@settings(max_examples=12, deadline=None)
@given(any_manifest(), st.integers(1, 30))
def test_growth_never_moves_a_kept_film(tmp_path_factory, films: pd.DataFrame, extra: int) -> None:
    path = tmp_path_factory.mktemp("keep") / "manifest.parquet"
    for how in (Split(scheme="patient"), Split(folds=3, fold=1)):
        before = split(films, how)
        write_manifest(before.manifest, path)
        grown = table([*films.to_dict("records"), *clinic(extra, each=2, name="new")])
        after = split(grown, how.model_copy(update={"keep": str(path)}))
        assert {film: parts(after)[film] for film in parts(before)} == parts(before)
        assert no_group_is_divided(after.manifest)


@given(st.integers(0, 300), st.floats(0.01, 0.45), st.floats(0.01, 0.45))
def test_quotas_are_within_one_of_the_shares(count: int, test: float, validation: float) -> None:
    shares = [test, validation, 1 - test - validation]
    numbers = quotas(count, shares)
    assert numbers.sum() == count
    if count >= 3:
        assert (numbers >= 1).all()
    if count * min(shares) >= 1:
        assert (np.abs(numbers - count * np.array(shares)) <= 1).all()


# Shares, seeds, growth


def test_each_class_has_its_share_of_patients_in_each_part() -> None:
    films = table([*clinic(100, each=2), *clinic(40, label="covid-19"), *clinic(10, label="pneumonia", each=3)])
    counts = split(films, Split(validation=0.1, test=0.2)).counts
    assert counts.loc["normal"].tolist() == [140, 20, 40]
    assert counts.loc["covid-19"].tolist() == [28, 4, 8]
    assert counts.loc["pneumonia"].tolist() == [21, 3, 6]


def test_a_patient_of_two_classes_is_dealt_with_the_rarer_one() -> None:
    mixed = [{**film, "patient_id": f"x/both{n}"} for n, film in enumerate(clinic(10, label="covid-19"))]
    also = [{**film, "patient_id": f"x/both{n}"} for n, film in enumerate(clinic(10))]
    others = clinic(90, name="y")
    result = split(table([*mixed, *also, *others]), Split(validation=0.1, test=0.2))
    assert result.counts.loc["covid-19"].tolist() == [7, 1, 2]
    assert result.counts.loc["normal"].sum() == 100


def test_another_seed_draws_other_patients() -> None:
    films = table(clinic(100))
    first, again, other = (parts(split(films, Split(seed=seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_draw_is_that_of_sha256_and_not_of_this_process() -> None:
    """Python's own hash of a text differs from process to process. The order was computed by another program:

    for n in 0 1 2 3 4; do printf '7\\0part\\0000/x/normal%s' $n | sha256sum; done | cat -n | sort -k 2
    """
    order = [1, 3, 0, 2, 4]
    part = split(table(clinic(5)), Split(validation=0.2, test=0.2, seed=7)).manifest["part"].tolist()
    assert [part[n] for n in order] == ["test", "validation", "train", "train", "train"]


def test_few_patients_move_when_data_grow_without_keep() -> None:
    small, large = table(clinic(200)), table(clinic(210))
    before, after = parts(split(small, Split())), parts(split(large, Split()))
    assert sum(after[film] != part for film, part in before.items()) <= 10


def test_new_patients_restore_the_shares(tmp_path: Path) -> None:
    small = split(table(clinic(10)), Split(validation=0.1, test=0.2))
    assert sizes(small) == {"train": 7, "validation": 1, "test": 2}
    path = tmp_path / "manifest.parquet"
    write_manifest(small.manifest, path)
    # A hundred patients need 20 in test and 10 in validation; 2 and 1 are there.
    grown = split(table(clinic(100)), Split(validation=0.1, test=0.2, keep=str(path)))
    assert sizes(grown) == {"train": 70, "validation": 10, "test": 20}


def test_a_run_folder_can_be_kept_and_its_images_may_have_moved(tmp_path: Path) -> None:
    films = table(clinic(20))
    before = split(films, Split())
    write_manifest(before.manifest, tmp_path / "run" / "manifest.parquet")
    renamed = films.assign(image_id="y/" + films["image_id"], patient_id=pd.NA)
    after = split(conform(renamed), Split(keep=str(tmp_path / "run"), seed=9))
    assert [part for _, part in sorted(parts(after).items())] == [part for _, part in sorted(parts(before).items())]


def test_a_new_film_of_a_kept_patient_follows_though_her_old_film_is_gone(tmp_path: Path) -> None:
    films = clinic(20)
    before = split(table(films), Split())
    path = tmp_path / "m.csv"
    write_manifest(before.manifest, path)
    tested = before.manifest.loc[before.manifest["part"] == "test", "patient_id"].iloc[0]
    kept = [film for film in films if film["patient_id"] != tested]
    new = {"image_id": "x/new", "sha256": "new", "patient_id": tested}
    assert parts(split(table([*kept, new]), Split(keep=str(path))))["x/new"] == "test"


def test_a_film_that_joins_train_and_test_of_the_kept_split_is_a_leak(tmp_path: Path) -> None:
    films = clinic(20)
    before = split(table(films), Split())
    path = tmp_path / "m.parquet"
    write_manifest(before.manifest, path)
    of_part = before.manifest.groupby("part")["patient_id"].first()
    same = perceptual_hash(np.arange(64, dtype=np.uint8).reshape(8, 8))
    joined = table(
        [
            {**film, "phash": same if film["patient_id"] in (of_part["train"], of_part["test"]) else None}
            for film in films
        ]
    )
    with pytest.raises(DataError, match="1 near duplicate in two parts"):
        split(joined, Split(keep=str(path)))
    dropped = split(joined, Split(keep=str(path), leaks="drop"))
    assert dropped.dropped["patient_id"].tolist() == [of_part["train"]]
    assert sizes(dropped) == {**sizes(before), "train": sizes(before)["train"] - 1}


@pytest.mark.parametrize("folds", [None, 4])
def test_an_earlier_split_that_is_not_there_is_refused(tmp_path: Path, folds: int | None) -> None:
    how = Split(keep=str(tmp_path / "nothing"), folds=folds, fold=folds and 0)
    with pytest.raises(RequestError, match=r"nothing: there is no earlier split"):
        split(table(clinic(20)), how)


def test_an_earlier_manifest_without_parts_is_refused(tmp_path: Path) -> None:
    write_manifest(table(clinic(20)), tmp_path / "m.parquet")
    with pytest.raises(RequestError, match="does not have a part in every row"):
        split(table(clinic(20)), Split(keep=str(tmp_path / "m.parquet")))
    with pytest.raises(RequestError, match="does not have a fold in every row"):
        split(table(clinic(20)), Split(keep=str(tmp_path / "m.parquet"), folds=3, fold=0))


# Published parts


def published(train: int, validation: int, test: int, name: str = "x") -> list[dict]:
    split_of = ["train"] * train + ["validation"] * validation + ["test"] * test
    films = clinic(train + validation + test, name=name)
    return [{**film, "split": part} for film, part in zip(films, split_of, strict=True)]


def test_published_test_films_stay_and_validation_is_drawn_from_train() -> None:
    films = table(published(90, 0, 30))
    result = split(films, Split(validation=0.1))
    assert result.scheme == "published"
    assert sizes(result) == {"train": 81, "validation": 9, "test": 30}
    assert (result.manifest.loc[films["split"] == "test", "part"] == "test").all()


def test_a_published_validation_part_is_kept_if_it_is_half_of_what_was_asked_for() -> None:
    films = table(published(95, 5, 30))
    assert split(films, Split(validation=0.1)).manifest["part"].tolist() == films["split"].tolist()


def test_a_tiny_published_validation_part_is_joined_with_train() -> None:
    result = split(table(published(96, 4, 30)), Split(validation=0.1))
    assert sizes(result) == {"train": 90, "validation": 10, "test": 30}
    assert any("validation part of 4 films is too small" in note for note in result.notes)


def test_a_source_without_a_published_split_is_drawn_beside_one_that_has_it() -> None:
    films = table([*published(90, 0, 30), *clinic(50, name="y")])
    result = split(films, Split(validation=0.1, test=0.2))
    assert result.scheme == "published and patient"
    by_source = pd.crosstab(films["source"], result.manifest["part"])[["train", "validation", "test"]]
    assert by_source.loc["x"].tolist() == [81, 9, 30]
    assert by_source.loc["y"].tolist() == [35, 5, 10]


def test_a_copy_of_a_published_test_film_from_another_source_goes_to_test() -> None:
    films = [*published(90, 0, 30), *clinic(50, name="y")]
    films[-1]["sha256"] = films[119]["sha256"]
    result = split(table(films), Split())
    assert result.manifest["part"].iloc[-1] == "test"
    assert result.leaks.empty


def test_a_source_whose_published_split_has_gaps_is_drawn_and_that_is_said() -> None:
    films = table([*published(90, 0, 30), *clinic(10, name="x", label="covid-19")])
    result = split(films, Split())
    assert result.scheme == "patient"
    assert any("x: 10 of 130 films have no published part" in note for note in result.notes)


def test_the_published_scheme_refuses_films_without_a_published_part() -> None:
    with pytest.raises(DataError, match=r"50 of 170 films have no published part \(source y\)"):
        split(table([*published(90, 0, 30), *clinic(50, name="y")]), Split(scheme="published"))


def test_folds_do_not_use_the_published_parts_and_say_so() -> None:
    result = split(table(published(90, 0, 30)), Split(folds=4, fold=0))
    assert result.scheme == "patient"
    assert sizes(result)["test"] == 30
    assert any("published parts are not used" in note for note in result.notes)
    with pytest.raises(RequestError, match="draws its own test parts"):
        split(table(published(90, 0, 30)), Split(scheme="published", folds=4, fold=0))


# Leaks


def leaking_films() -> pd.DataFrame:
    """Published parts in which one patient, one exact and one near duplicate stand in train and test."""
    films = published(30, 0, 10)
    films[30]["patient_id"] = films[0]["patient_id"]
    films[31]["sha256"] = films[1]["sha256"]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    films[2]["phash"], films[32]["phash"] = perceptual_hash(noise), perceptual_hash(noise // 2)
    return table(films)


def test_leaks_are_refused_by_name_with_the_three_ways_out() -> None:
    with pytest.raises(DataError) as error:
        split(leaking_films(), Split())
    for text in (
        "1 patient, 1 exact duplicate, 1 near duplicate in two parts",
        "patient x/normal0: x/normal0-0 (train), x/normal30-0 (test)",
        "exact duplicate: x/normal1-0 (train), x/normal31-0 (test)",
        "near duplicate: x/normal2-0 (train), x/normal32-0 (test)",
        "split.leaks=drop",
        "split.leaks=allow",
        "split.scheme=patient",
    ):
        assert text in str(error.value)


def test_the_ways_out_of_leaks_work() -> None:
    films = leaking_films()
    drop = split(films, Split(leaks="drop"))
    assert drop.dropped["image_id"].tolist() == ["x/normal0-0", "x/normal1-0", "x/normal2-0"]
    assert drop.dropped["part"].tolist() == ["train"] * 3
    assert (len(drop.leaks), drop.leaky, sizes(drop)["test"]) == (3, False, 10)
    assert find_leaks(drop.manifest).empty
    allow = split(films, Split(leaks="allow"))
    assert (len(allow.leaks), allow.leaky, len(allow.manifest)) == (3, True, 40)
    assert any("leaks were allowed" in note for note in allow.notes)
    anew = split(films, Split(scheme="patient"))
    assert (len(anew.leaks), len(anew.manifest)) == (0, 40)


def test_an_error_names_each_kind_of_leak_though_one_kind_is_frequent() -> None:
    films = published(40, 0, 20)
    for n in range(15):
        films[40 + n]["patient_id"] = films[n]["patient_id"]
    films[59]["sha256"] = films[39]["sha256"]
    with pytest.raises(
        DataError, match=r"15 patients, 1 exact duplicate .*exact duplicate: x/normal39-0.* and 13 more"
    ):
        split(table(films), Split())


def test_validation_films_leak_too() -> None:
    films = published(30, 10, 10)
    films[30]["patient_id"] = films[0]["patient_id"]  # train and validation
    films[31]["patient_id"] = films[40]["patient_id"]  # validation and test
    result = split(table(films), Split(leaks="drop"))
    assert result.dropped["image_id"].tolist() == ["x/normal0-0", "x/normal31-0"]


def test_parts_that_the_manifest_came_with_are_kept_and_checked() -> None:
    films = table(clinic(30)).assign(part=(["train"] * 4 + ["validation", "test"]) * 5)
    result = split(conform(films), Split())
    assert (result.scheme, result.manifest["part"].tolist()) == ("given", films["part"].tolist())
    films.loc[0, "patient_id"] = films.loc[5, "patient_id"]
    with pytest.raises(DataError, match="1 patient in two parts"):
        split(conform(films), Split())
    films.loc[1, "part"] = pd.NA
    with pytest.raises(DataError, match="part is missing, and so in 1 of 30 films"):
        split(conform(films), Split())


def test_a_film_that_is_exact_and_near_is_named_by_each_kind_that_applies() -> None:
    same = perceptual_hash(np.arange(64, dtype=np.uint8).reshape(8, 8))
    films = table([{"sha256": "a", "phash": same}, {"sha256": "a", "phash": same}, {"sha256": "b", "phash": same}])
    assert find_leaks(films.assign(part=["train", "test", "test"]))["kind"].tolist() == [
        "exact duplicate",
        "near duplicate",
    ]
    assert find_leaks(films.assign(part=["train", "train", "test"]))["kind"].tolist() == ["near duplicate"]
    assert find_leaks(films.assign(part=["test", "test", "test"])).empty


@pytest.mark.parametrize("part", ["Test", "holdout"])
def test_an_unknown_part_is_refused(part: str) -> None:
    with pytest.raises(DataError, match=f"manifest row 1: part is '{part}'"):
        find_leaks(table(clinic(3)).assign(part=["train", part, "test"]))


# Random, as some papers did


def test_a_random_split_is_by_film_and_its_leaks_are_refused_unless_allowed() -> None:
    films = table(clinic(20, each=5))
    with pytest.raises(DataError, match="in two parts"):
        split(films, Split(scheme="random"))
    result = split(films, Split(scheme="random", leaks="allow"))
    assert (result.scheme, result.leaky, sizes(result)) == ("random", True, {"train": 70, "validation": 10, "test": 20})
    assert any("one by one" in note for note in result.notes)


# So many films of each class for test


def test_the_test_part_has_so_many_films_of_each_class_and_validation_its_share_of_the_rest() -> None:
    films = table([*clinic(79), *clinic(69, label="covid-19")])
    result = split(films, Split(scheme="random", test_per_class=9, validation=0.2))
    assert result.counts.loc["normal"].tolist() == [56, 14, 9]  # 79 - 9 = 70, a fifth of which is 14
    assert result.counts.loc["covid-19"].tolist() == [48, 12, 9]


def test_a_patient_is_never_cut_to_fill_a_test_part_of_so_many_films() -> None:
    films = table([*clinic(40, each=2), *clinic(30, label="covid-19")])
    result = split(films, Split(scheme="patient", test_per_class=9))
    assert no_group_is_divided(result.manifest)
    assert result.counts["test"].to_dict() == {"normal": 8, "covid-19": 9}  # a fifth patient would make it ten


def test_a_test_part_of_so_many_films_does_not_use_the_published_parts_and_says_so() -> None:
    result = split(table(published(90, 0, 30)), Split(test_per_class=12))
    assert sizes(result)["test"] == 12
    assert any("published parts are not used, because a test part of its own" in note for note in result.notes)


def test_a_class_that_the_test_part_would_use_up_is_refused() -> None:
    with pytest.raises(DataError, match=r"class .covid-19. has 9 films, and split.test_per_class=9 leaves none"):
        split(table([*clinic(30), *clinic(9, label="covid-19")]), Split(test_per_class=9))


def test_a_kept_test_part_of_so_many_films_stays_as_data_grow(tmp_path: Path) -> None:
    films = clinic(30)
    before = split(table(films), Split(test_per_class=5))
    path = tmp_path / "m.parquet"
    write_manifest(before.manifest, path)
    grown = table([*films, *clinic(20, name="new")])
    after = split(grown, Split(test_per_class=5, keep=str(path)))
    assert {film: parts(after)[film] for film in parts(before)} == parts(before)
    assert sizes(after)["test"] == 5


# One source for test


def three_sources() -> pd.DataFrame:
    return table([film for name in ("b", "c", "a") for label in CLASSES for film in clinic(20, label=label, name=name)])


def test_one_source_is_the_test_part_and_nothing_of_it_is_learned_from() -> None:
    for fold, name in enumerate(("a", "b", "c")):
        result = split(three_sources(), Split(scheme="source", fold=fold, validation=0.1))
        assert set(result.manifest.loc[result.manifest["part"] == "test", "source"]) == {name}
        assert name not in set(result.manifest.loc[result.manifest["part"] != "test", "source"])
        assert sizes(result) == {"train": 108, "validation": 12, "test": 60}
        assert (result.scheme, result.leaky) == ("source", False)
        assert any(f"the test part is the source {name}" in note for note in result.notes)


def test_each_source_is_a_fold() -> None:
    films = three_sources()
    how = Split(scheme="source", fold=1)
    assert fold_count(films, how) == 3
    by_fold = split(films, how).manifest.groupby("source")["fold"].unique()
    assert {name: list(folds) for name, folds in by_fold.items()} == {"a": [0], "b": [1], "c": [2]}


def test_the_number_of_folds_is_that_asked_for_or_refused() -> None:
    assert fold_count(three_sources(), Split(folds=4)) == 4
    with pytest.raises(RequestError, match="no folds were asked for"):
        fold_count(three_sources(), Split())


def test_a_film_of_the_tested_source_that_another_source_has_too_is_a_leak() -> None:
    films = three_sources()
    rows = films.to_dict("records")
    copy = next(row for row in rows if row["source"] == "c")
    rows[0]["sha256"] = copy["sha256"]
    with pytest.raises(DataError, match="1 exact duplicate in two parts"):
        split(table(rows), Split(scheme="source", fold=2))
    result = split(table(rows), Split(scheme="source", fold=2, leaks="drop"))
    assert result.dropped["image_id"].tolist() == [rows[0]["image_id"]]
    assert sizes(result)["test"] == 60


@pytest.mark.parametrize(("fold", "said"), [(None, "no source is named"), (3, "there is no source number 3")])
def test_a_source_that_is_not_named_or_not_there_is_refused_with_the_list(fold: int | None, said: str) -> None:
    with pytest.raises(RequestError, match=f"{said}.*0 a, 1 b, 2 c; or run them all with: hilum crossval"):
        split(three_sources(), Split(scheme="source", fold=fold))


def test_films_of_one_source_cannot_be_tested_on_another() -> None:
    with pytest.raises(DataError, match="all films are of one source, x"):
        split(table(clinic(20)), Split(scheme="source", fold=0))


# What cannot be done


def test_a_class_with_fewer_patients_than_parts_is_refused() -> None:
    films = table([*clinic(20), *clinic(2, each=9, label="covid-19")])
    with pytest.raises(DataError, match=r"class 'covid-19' has 2 patients .*too few for 3 parts") as error:
        split(films, Split())
    assert "leave the class out of the task" in str(error.value)


def test_a_class_with_fewer_patients_than_folds_is_refused() -> None:
    films = table([*clinic(20), *clinic(4, label="covid-19")])
    with pytest.raises(DataError, match=r"class 'covid-19' has 4 patients .*too few for 5 folds"):
        split(films, Split(folds=5, fold=0))
    assert split(films, Split(folds=4, fold=0)).counts.loc["covid-19", "test"] == 1


def test_a_class_of_one_film_is_refused() -> None:
    with pytest.raises(DataError, match="class 'covid-19' has 1"):
        split(table([*clinic(20), *clinic(1, label="covid-19")]), Split())


def test_a_part_that_would_be_empty_is_refused() -> None:
    with pytest.raises(DataError, match="the test part would be empty"):
        split(table(published(40, 10, 0)), Split())


def test_a_missing_class_is_refused_with_its_row() -> None:
    films = table(clinic(20))
    films.loc[3, "class"] = pd.NA
    with pytest.raises(DataError, match="manifest row 3: class is missing for 1 films"):
        split(films, Split())


@pytest.mark.parametrize("how", [Split(validation=0.5, test=0.5), Split(validation=1.0, folds=2, fold=0)])
def test_shares_that_leave_nothing_to_train_on_are_refused(how: Split) -> None:
    with pytest.raises(RequestError, match="to train on"):
        split(table(clinic(20)), how)


def test_no_film_is_refused() -> None:
    with pytest.raises(DataError, match="no film"):
        split(table(clinic(2)).iloc[:0], Split())


def test_films_without_a_patient_are_counted_in_a_note() -> None:
    films = table([*clinic(20), *({"label": "normal"} for _ in range(7))])
    assert any("7 of 27 films have no patient" in note for note in split(films, Split()).notes)


# Real films


@pytest.fixture(scope="module")
def kermany_and_kaggle(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"no real films at {data}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("facts")))
        read = sources.read(f"kaggle-covid19-pneumonia:{data}/kaggle-covid19-pneumonia", f"kermany:{data}/kermany")
        films, _ = with_facts(read)
    return films.assign(**{"class": films["label"].str.split("/").str[0]})


@pytest.mark.real
def test_patients_of_the_kaggle_collection_are_recovered_from_kermany_and_one_leaks(
    kermany_and_kaggle: pd.DataFrame,
) -> None:
    """Of the published parts: NORMAL2-IM-0995 is in train and test. person59 is two children, one with bacteria and one
    with a virus, as Kermany's numbers start again by cause."""
    films = kermany_and_kaggle
    cluster = duplicates.clusters(films).to_numpy()
    patient = films["patient_id"].groupby(cluster).transform("first")
    kaggle = films["image_id"].str.startswith("kaggle").to_numpy()
    assert films.loc[kaggle, "patient_id"].isna().all()
    known = films[kaggle].assign(patient_id=patient[kaggle])
    assert known.loc[known["class"] != "covid-19", "patient_id"].notna().all()
    leaks = find_leaks(known.assign(part=known["split"]))
    assert leaks[["kind", "patient_id"]].to_numpy().tolist() == [["patient", "kermany/NORMAL2-IM-0995"]]


@pytest.mark.real
def test_kaggle_and_kermany_merged_leak_in_their_published_parts(kermany_and_kaggle: pd.DataFrame) -> None:
    """The same films are in both, and were divided otherwise."""
    with pytest.raises(DataError, match="in two parts"):
        split(kermany_and_kaggle, Split())
    result = split(kermany_and_kaggle, Split(scheme="patient"))
    assert no_group_is_divided(result.manifest)
    assert find_leaks(result.manifest).empty
