"""Readers of one's own films: folders, tables, DICOM trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.film_files import dicom_film, film, films, table
from hilum.data.readers import csv, dicom, folder
from hilum.data.readers.common import left_out
from hilum.errors import DataError, RequestError

# folder --------------------------------------------------------------------------------------------------------------


def test_a_folder_is_a_class_spelt_as_written(tmp_path):
    manifest = folder.read(films(tmp_path / "ward", "COVID19/a.png", "Viral Pneumonia/b.jpg", "Viral Pneumonia/c.jpg"))
    assert manifest["label"].tolist() == ["COVID19", "Viral Pneumonia", "Viral Pneumonia"]
    assert manifest["source"].unique().tolist() == ["ward"]
    assert manifest["image_id"].iloc[0] == "ward/COVID19/a.png"
    assert manifest["split"].isna().all()


def test_part_folders_above_the_classes_are_the_published_split(tmp_path):
    manifest = folder.read(films(tmp_path, "Train/a/1.png", "valid/a/2.png", "test/b/3.png"))
    assert manifest["split"].tolist() == ["train", "test", "validation"]  # in the order of the paths
    assert manifest["label"].tolist() == ["a", "b", "a"]


def test_films_deeper_than_the_class_folder_belong_to_the_class(tmp_path):
    manifest = folder.read(films(tmp_path, "ill/patient-1/first/a.png", "well/patient-2/b.png"))
    assert manifest["label"].tolist() == ["ill", "well"]


def test_a_class_folder_named_like_a_part_is_a_class_when_films_lie_in_it(tmp_path):
    assert folder.read(films(tmp_path, "test/a.png", "control/b.png"))["label"].tolist() == ["control", "test"]


def test_patients_come_from_the_pattern_and_unmatched_films_have_none(tmp_path):
    root = films(tmp_path / "x", "ill/p7_1.png", "ill/p7_2.png", "well/unnamed.png")
    manifest = folder.read(root, patient=r"(?P<patient>p\d+)_")
    assert manifest["patient_id"].fillna("").tolist() == ["x/p7", "x/p7", ""]


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(p", "no regular expression"),
        (r"p\d+", "no group named patient"),
        (r"(?P<patient>q\d+)", "matches none of the 2"),
    ],
)
def test_a_pattern_that_cannot_serve_is_refused(tmp_path, pattern, complaint):
    with pytest.raises(RequestError, match=complaint):
        folder.read(films(tmp_path, "ill/p7_1.png", "well/p8_1.png"), patient=pattern)


def test_a_folder_without_class_folders_is_refused_with_what_would_do(tmp_path):
    with pytest.raises(DataError, match=r"none of its 2 films lies in a folder of its class. .*/pneumonia/.*csv:"):
        folder.read(films(tmp_path, "a.png", "b.png"))


def test_what_operating_systems_leave_behind_is_ignored_and_other_files_are_counted(tmp_path):
    films(tmp_path, "ill/a.png", "well/b.PNG", "loose.png", "ill/._a.png", "__MACOSX/ill/a.png", ".cache/ill/c.png")
    for junk in (".DS_Store", "Thumbs.db", "desktop.ini"):
        table(tmp_path / "ill" / junk, "x")
    table(tmp_path / "ill" / "notes.txt", "x")
    manifest = folder.read(tmp_path)
    assert [Path(path).name for path in manifest["path"]] == ["a.png", "b.PNG"]
    assert left_out(manifest) == [("files that are no film", 1), ("films outside a class folder", 1)]


def test_a_linked_folder_is_read_and_a_circle_of_links_ends(tmp_path):
    films(tmp_path / "elsewhere", "a.png")
    film(tmp_path / "root" / "well" / "b.png")
    (tmp_path / "root" / "ill").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "well" / "round").symlink_to(tmp_path / "root")
    assert sorted(folder.read(tmp_path / "root")["label"]) == ["ill", "well"]


def test_dicom_films_in_class_folders_tell_their_patient_but_the_pattern_wins(tmp_path):
    dicom_film(tmp_path / "x" / "ill" / "a.dcm", PatientID="P1", PatientSex="F", Modality="DX", ViewPosition="PA")
    dicom_film(tmp_path / "x" / "well" / "q2_b.dcm", PatientID="P2", Modality="DX")
    film(tmp_path / "x" / "well" / "c.png")
    plain = folder.read(tmp_path / "x")
    assert plain["patient_id"].fillna("").tolist() == ["x/P1", "", "x/P2"]
    assert plain["view"].fillna("").tolist() == ["PA", "", ""]
    assert plain["modality"].fillna("").tolist() == ["DX", "", "DX"]
    named = folder.read(tmp_path / "x", patient=r"(?P<patient>q\d)_")
    assert named["patient_id"].fillna("").tolist() == ["x/P1", "", "x/q2"]


@pytest.mark.parametrize("reader", [folder, dicom], ids=lambda reader: reader.NAME)
def test_a_folder_that_may_not_be_read_stops_the_reading(tmp_path, monkeypatch, reader):
    films(tmp_path, "ill/a.png", "well/b.png")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("well"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"well: the folder cannot be read: Permission denied"):
        reader.read(tmp_path)


@pytest.mark.parametrize("reader", [folder, dicom], ids=lambda reader: reader.NAME)
def test_a_name_that_is_no_text_is_refused_and_shown(tmp_path, reader):
    films(tmp_path, "ill/a.png", "well/b.png")
    try:
        (tmp_path / "well" / "b.png").rename(tmp_path / "well" / os.fsdecode(b"f\xe9.png"))
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(DataError, match=r"well: the file's name b'f\\xe9.png' is no UTF-8"):
        reader.read(tmp_path)


# csv -----------------------------------------------------------------------------------------------------------------


def test_a_table_with_any_column_names_is_read_by_a_mapping(tmp_path):
    films(tmp_path, "films/a.png", "films/b.png")
    path = table(
        tmp_path / "list.csv",
        "file,diagnosis,mrn,years,gender,site,ward",
        "films/a.png,Pneumonia,17,61,female,north,3",
        "films/b.png,,18,,unknown,,4",
    )
    manifest = csv.read(
        path, path="file", label="diagnosis", patient_id="mrn", age_years="years", sex="gender", source="site"
    )
    assert manifest["label"].fillna("").tolist() == ["Pneumonia", ""]
    assert manifest["patient_id"].tolist() == ["list/17", "list/18"]
    assert manifest["age_years"].fillna(-1).tolist() == [61.0, -1.0]
    assert manifest["sex"].fillna("").tolist() == ["F", ""]
    assert manifest["source"].tolist() == ["north", "list"]
    assert manifest["ward"].tolist() == ["3", "4"]
    assert manifest["image_id"].tolist() == ["list/films/a.png", "list/films/b.png"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("path;label;größe\na.png;krank;1,5\n", "utf-8-sig"),
        ("path;label;größe\na.png;krank;1,5\n", "cp1252"),
        ("path\tlabel\tgröße\na.png\tkrank\t1,5\n", "utf-8"),
        ('"path","label","größe"\r\n"a.png","krank","1,5"\r\n', "utf-8"),
    ],
)
def test_separators_and_encodings_of_office_programs_are_recognised(tmp_path, content, encoding):
    film(tmp_path / "a.png")
    (tmp_path / "list.csv").write_bytes(content.encode(encoding))
    manifest = csv.read(tmp_path / "list.csv")
    assert manifest["label"].tolist() == ["krank"]
    assert manifest["größe"].tolist() == ["1,5"]
    assert csv.recognises(tmp_path / "list.csv")


def test_paths_may_be_relative_to_a_root_absolute_or_windows(tmp_path):
    films(tmp_path / "store", "north/a.png", "b.png", "c.png")
    path = table(
        tmp_path / "lists" / "list.csv",
        "path,label",
        r"north\a.png,x",
        f"{tmp_path}/store/b.png,x",
        "./c.png,y",
    )
    manifest = csv.read(path, root=str(tmp_path / "store"))
    assert manifest["image_id"].tolist() == ["list/north/a.png", "list/b.png", "list/c.png"]
    assert all(Path(film).is_file() for film in manifest["path"])


def test_a_missing_column_is_refused_with_the_columns_and_how_to_map_one(tmp_path):
    path = table(tmp_path / "list.csv", "file,diagnosis", "a.png,x")
    with pytest.raises(DataError, match=r"no column is named path; the columns are file, diagnosis.*\?path=file"):
        csv.read(path)
    with pytest.raises(RequestError, match=r"no column 'diagnoses'.*Did you mean 'diagnosis'"):
        csv.read(path, path="file", label="diagnoses")


def test_rows_without_their_film_are_counted_and_the_first_is_named(tmp_path):
    film(tmp_path / "a.png")
    path = table(tmp_path / "list.csv", "path,label", "a.png,x", "b.png,x", ",x")
    manifest = csv.read(path)
    assert len(manifest) == 1
    first = tmp_path / "b.png"
    assert dict(left_out(manifest)) == {"rows without a path": 1, f"rows whose film is not there, the first {first}": 1}


def test_no_film_at_all_is_refused_with_the_first_path_that_was_tried(tmp_path):
    path = table(tmp_path / "list.csv", "path,label", "films/a.png,x")
    with pytest.raises(DataError, match=r"no row names a film that is there; the first is .*films/a.png.*root=FOLDER"):
        csv.read(path)


def test_a_row_twice_is_one_film_and_counted(tmp_path):
    film(tmp_path / "a.png")
    manifest = csv.read(table(tmp_path / "list.csv", "path,label,patient_id", "a.png,x,1", "./a.png,x,1"))
    assert len(manifest) == 1
    assert left_out(manifest) == [("rows that name a film again, merged into the first", 1)]


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [("x,1", "y,1", r"line 2 says label 'x'.*line 4 says 'y'"), ("x,1", "x,2", "line 2 says patient_id 'list/1'")],
)
def test_rows_that_contradict_each_other_are_refused_with_both_lines(tmp_path, first, second, complaint):
    films(tmp_path, "a.png", "b.png")
    path = table(tmp_path / "list.csv", "path,label,patient_id", f"a.png,{first}", "b.png,x,1", f"a.png,{second}")
    with pytest.raises(DataError, match=complaint):
        csv.read(path)


@pytest.mark.parametrize(
    ("column", "cell"),
    [("age_years", "sixty"), ("age_years", "999"), ("sex", "weiblich"), ("split", "trian"), ("offset_days", "soon")],
)
def test_a_cell_that_is_not_understood_is_refused_with_its_line(tmp_path, column, cell):
    films(tmp_path, "a.png", "b.png")
    path = table(tmp_path / "list.csv", f"path,label,{column}", "a.png,x,", f"b.png,x,{cell}")
    with pytest.raises(DataError, match=rf"line 3: {column} '{cell}' is not understood"):
        csv.read(path)


def test_the_word_none_is_a_label_and_na_is_not(tmp_path):
    films(tmp_path, "a.png", "b.png")
    manifest = csv.read(table(tmp_path / "list.csv", "path,label", "a.png,None", "b.png,NA"))
    assert manifest["label"].fillna("missing").tolist() == ["None", "missing"]


def test_columns_of_the_manifest_that_the_table_uses_otherwise_keep_their_values_under_another_name(tmp_path):
    film(tmp_path / "a.png")
    manifest = csv.read(table(tmp_path / "list.csv", "path,label,class,width", "a.png,x,II,wide"))
    assert manifest["class_in_table"].tolist() == ["II"]
    assert manifest["width_in_table"].tolist() == ["wide"]
    assert manifest["width"].isna().all()
    assert "class" not in manifest


def test_a_published_split_in_a_table_is_read(tmp_path):
    films(tmp_path, "a.png", "b.png")
    manifest = csv.read(
        table(tmp_path / "list.csv", "path,label,fold", "a.png,x,Training", "b.png,y,val"), split="fold"
    )
    assert manifest["split"].tolist() == ["train", "validation"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"path,path\na,b\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"list\.csv"):
        csv.read(tmp_path / "list.csv")


def test_dicom_films_of_a_table_fill_what_it_does_not_tell(tmp_path):
    dicom_film(
        tmp_path / "a.dcm", PatientID="P1", PatientSex="F", PatientAge="061Y", Modality="DX", Manufacturer="Acme"
    )
    manifest = csv.read(table(tmp_path / "list.csv", "path,label,age_years", "a.dcm,x,60"))
    row = manifest.iloc[0]
    assert (row["patient_id"], row["sex"], row["age_years"], row["manufacturer"]) == ("list/P1", "F", 60.0, "Acme")


# dicom ---------------------------------------------------------------------------------------------------------------


def test_a_dicom_tree_is_read_by_content_whatever_the_names(tmp_path):
    root = tmp_path / "pacs"
    dicom_film(root / "1.2.840.1", PatientID="P1", PatientSex="F", PatientAge="061Y", ViewPosition="AP", Modality="DX")
    dicom_film(root / "deep" / "er" / "IM0001", PatientID="P2", Modality="CR", BodyPartExamined="CHEST")
    dicom_film(root / "c.png", PatientID="P3", Modality="CR")
    film(root / "really.png")
    table(root / "readme.txt", "no DICOM")
    manifest = dicom.read(root)
    assert sorted(manifest["patient_id"]) == ["pacs/P1", "pacs/P2", "pacs/P3"]
    first = manifest.set_index("patient_id").loc["pacs/P1"]
    assert (first["view"], first["sex"], first["age_years"], first["modality"]) == ("AP", "F", 61.0, "DX")
    assert manifest["label"].isna().all()
    assert left_out(manifest) == [("files that are no DICOM", 2)]


def test_dicom_objects_that_are_no_chest_film_are_left_out_with_the_reason(tmp_path):
    dicom_film(tmp_path / "chest.dcm", Modality="DX", BodyPartExamined="CHEST")
    dicom_film(tmp_path / "hand.dcm", Modality="DX", BodyPartExamined="HAND")
    dicom_film(tmp_path / "ct.dcm", Modality="CT")
    dicom_film(tmp_path / "report.dcm", Modality="SR", picture=False)
    manifest = dicom.read(tmp_path)
    assert len(manifest) == 1
    reasons = [what for what, _ in left_out(manifest)]
    assert len(reasons) == 3
    assert any("'HAND'" in reason for reason in reasons)
    assert any("'CT'" in reason for reason in reasons)
    assert any("no picture" in reason for reason in reasons)


def test_a_tree_without_dicom_is_refused_with_the_count(tmp_path):
    with pytest.raises(DataError, match=r"files that are no DICOM: 2"):
        dicom.read(films(tmp_path, "a.png", "b.png"))


def test_a_damaged_dicom_file_stays_a_row_for_the_scan_to_tell_its_error(tmp_path):
    dicom_film(tmp_path / "whole.dcm", PatientID="P1", Modality="DX")
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff\xff")
    assert len(dicom.read(tmp_path)) == 2
