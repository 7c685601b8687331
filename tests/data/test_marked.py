"""Reading of films on which people drew the lungs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.data.marked import read_marked
from hilum.errors import DataError, RequestError


def _write(folder: Path, rows: list[str], header: str = "image,mask,class,patient_id") -> Path:
    folder.mkdir()
    for name in ("1.png", "2.png", "1-mask.png", "2-mask.png"):
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / name)
    (folder / "pairs.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_a_table_of_ones_own_gives_films_masks_labels_and_patients(tmp_path: Path) -> None:
    films = read_marked(_write(tmp_path / "mine", ["1.png,1-mask.png,normal,ann", "2.png,2-mask.png,covid-19,bob"]))
    assert films["patient_id"].tolist() == ["ann", "bob"]
    assert films["label"].tolist() == ["normal", "covid-19"]
    assert [Path(mask).name for mask in films["mask"]] == ["1-mask.png", "2-mask.png"]
    assert films["source"].tolist() == films["class"].tolist() == ["mine", "mine"]


def test_paths_may_be_told_from_the_folder_above(tmp_path: Path) -> None:
    folder = _write(tmp_path / "mine", ["mine/1.png,mine/1-mask.png,normal,ann"])
    assert Path(read_marked(folder)["path"].iloc[0]) == folder.parent / "mine/1.png"


def test_a_mask_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.csv line 3: there is no file '3-mask\.png'"):
        read_marked(_write(tmp_path / "mine", ["1.png,1-mask.png,normal,ann", "2.png,3-mask.png,normal,bob"]))


def test_a_film_twice_and_a_folder_without_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        read_marked(_write(tmp_path / "mine", ["1.png,1-mask.png,normal,ann", "1.png,2-mask.png,normal,ann"]))
    with pytest.raises(RequestError, match="pairs"):
        read_marked(tmp_path)


@pytest.mark.real
def test_the_public_masks_know_their_collections_patients_and_licences(shared: Path) -> None:
    films = read_marked(shared / "data/lung-masks")
    assert films["source"].value_counts().to_dict() == {"kermany": 1580, "cohen": 428}
    assert films["patient_id"].notna().all()
    covid = films[films["source"] == "cohen"]
    assert (covid["label"] == "covid-19").all()
    # 300 of the 428 tell their age in metadata.csv; the children's films have no licence of their own.
    assert int(covid["age_years"].notna().sum()) == 300
    assert films.loc[films["source"] == "kermany", "license"].isna().all()
