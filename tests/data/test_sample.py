"""So many films of each class: the numbers asked for, the published test part whole, what is missing told."""

from __future__ import annotations

import pandas as pd
import pytest

from hilum.data.manifest import conform
from hilum.data.sample import sample
from hilum.data.split import split
from hilum.errors import DataError, RequestError
from hilum.recipe.schema import Data, Split


def films(**classes: int) -> pd.DataFrame:
    rows = [(f"{name}-{n}", name, name) for name, count in classes.items() for n in range(count)]
    table = pd.DataFrame(rows, columns=["image_id", "class", "label"])
    return table.assign(source="x", split=pd.NA)


def counts(drawn: pd.DataFrame) -> dict[str, int]:
    return drawn["class"].value_counts().to_dict()


def test_exactly_the_films_asked_for_are_drawn_and_other_classes_stay_whole() -> None:
    drawn = sample(films(ill=30, well=50, other=7), Data(draw={"ill": 12, "well": 40}), Split())
    assert counts(drawn.manifest) == {"ill": 12, "well": 40, "other": 7}
    assert drawn.left == {"ill": 18, "well": 10}


def test_at_most_per_class_films_are_drawn_and_a_class_with_fewer_is_told() -> None:
    drawn = sample(films(ill=30, well=5), Data(per_class=20), Split())
    assert counts(drawn.manifest) == {"ill": 20, "well": 5}
    assert drawn.notes == ("the class well has 5 films, fewer than the 20 of data.per_class; all of them are used",)


def test_the_same_films_are_drawn_whatever_their_order_and_others_with_another_seed() -> None:
    table = films(ill=40)
    asked = Data(draw={"ill": 10})
    first = set(sample(table, asked, Split()).manifest["image_id"])
    assert set(sample(table.iloc[::-1], asked, Split()).manifest["image_id"]) == first
    assert set(sample(table, asked, Split(seed=1)).manifest["image_id"]) != first


def test_a_larger_draw_holds_the_smaller_one() -> None:
    table = films(ill=40)
    small, large = (set(sample(table, Data(draw={"ill": n}), Split()).manifest["image_id"]) for n in (10, 20))
    assert small < large


def test_films_not_drawn_may_all_be_trained_on_and_the_other_parts_stay_as_they_were() -> None:
    table = conform(films(ill=40, well=40).assign(sha256=[f"{n:064x}" for n in range(80)], path="x"))
    table["class"] = table["label"]
    how = Split(scheme="random", test=0.25, validation=0.25, leaks="drop")
    parts = {}
    for undrawn in ("leave", "train"):
        drawn = sample(table, Data(draw={"ill": 12}, undrawn=undrawn), how)  # type: ignore[arg-type]
        parts[undrawn] = split(drawn.manifest, how).manifest.set_index("image_id")["part"]
    assert (len(parts["leave"]), len(parts["train"])) == (52, 80)
    assert parts["train"][parts["leave"].index].equals(parts["leave"])
    assert set(parts["train"].drop(parts["leave"].index)) == {"train"}


def test_a_film_not_drawn_is_left_out_where_its_patient_is_in_another_part() -> None:
    table = conform(films(ill=40, well=40).assign(sha256=[f"{n:064x}" for n in range(80)], path="x"))
    table["class"] = table["label"]
    table["patient_id"] = [f"p{n // 2}" for n in range(80)]  # two films each
    how = Split(scheme="patient", test=0.25, validation=0.25, leaks="drop")
    found = split(sample(table, Data(draw={"ill": 12, "well": 12}, undrawn="train"), how).manifest, how)
    assert len(found.dropped) > 0
    assert (found.manifest.groupby("patient_id")["part"].nunique() == 1).all()


def published(train: int, test: int) -> pd.DataFrame:
    table = films(ill=train + test)
    return table.assign(split=["train"] * train + ["test"] * test)


@pytest.mark.parametrize("asked", [Data(per_class=12), Data(draw={"ill": 12})])
@pytest.mark.parametrize("scheme", ["auto", "published"])
def test_a_published_test_part_stays_whole(asked: Data, scheme: str) -> None:
    drawn = sample(published(30, 9), asked, Split(scheme=scheme)).manifest  # type: ignore[arg-type]
    assert drawn["split"].value_counts().to_dict() == {"train": 12, "test": 9}


@pytest.mark.parametrize(
    "how", [Split(scheme="patient"), Split(scheme="random"), Split(folds=3, fold=0), Split(test_per_class=4)]
)
def test_published_parts_that_the_split_will_not_keep_are_drawn_from_like_the_rest(how: Split) -> None:
    assert len(sample(published(30, 9), Data(per_class=12), how).manifest) == 12


def test_of_a_source_whose_published_split_has_gaps_all_films_are_drawn_from() -> None:
    table = published(30, 9)
    table.loc[0, "split"] = pd.NA
    assert len(sample(table, Data(per_class=12), Split()).manifest) == 12


def test_parts_that_the_manifest_came_with_stay_whole_too() -> None:
    table = films(ill=30).assign(part=["test"] * 6 + ["train"] * 24)
    drawn = sample(table, Data(draw={"ill": 10}), Split()).manifest
    assert drawn["part"].value_counts().to_dict() == {"train": 10, "test": 6}


def test_a_class_made_of_several_labels_can_be_drawn_by_label() -> None:
    table = films(a=20, b=20, c=20)
    table["label"] = ["pneumonia/viral"] * 10 + ["pneumonia/viral/sars"] * 10 + ["normal"] * 20 + ["covid-19"] * 20
    table["class"] = ["other"] * 40 + ["covid-19"] * 20
    drawn = sample(table, Data(draw={"covid-19": 4, "pneumonia/viral": 5, "normal": 6}), Split()).manifest
    assert counts(drawn) == {"covid-19": 4, "other": 11}
    assert (drawn["label"] == "normal").sum() == 6


def test_missing_films_are_told_with_the_settings_that_draw_what_there_is() -> None:
    with pytest.raises(DataError) as error:
        sample(films(ill=30, well=5, other=2), Data(draw={"ill": 31, "well": 5, "other": 9}), Split())
    assert str(error.value) == (
        "data.draw: there are fewer films than are to be drawn: ill 30 of 31, other 2 of 9. "
        "Add the films that are missing, or draw what there is: --set data.draw.ill=30 --set data.draw.other=2"
    )


def test_films_of_the_published_test_part_do_not_count_towards_the_draw() -> None:
    with pytest.raises(DataError, match=r"ill 30 of 35 \(beside the published test part\)"):
        sample(published(30, 9), Data(draw={"ill": 35}), Split())


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"no class 'normol' and no such label. Did you mean 'normal'"):
        sample(films(normal=5), Data(draw={"normol": 3}), Split())
