"""Readers of public collections, on small trees of their layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.film_files import dicom_film, film, films, table
from hilum.data.readers import cohen, covidx, darkcovidnet, figure1, kaggle_covid19_pneumonia, kermany, rsna
from hilum.data.readers.common import left_out
from hilum.errors import DataError, HilumError, RequestError


def by_name(manifest, column):
    """Column by the name of the film's file."""
    return {Path(path).name: value for path, value in zip(manifest["path"], manifest[column], strict=True)}


# kaggle-covid19-pneumonia --------------------------------------------------------------------------------------------


def kaggle_tree(root: Path) -> Path:
    for part in ("train", "test"):
        for folder in ("COVID19", "NORMAL", "PNEUMONIA"):
            film(root / "Data" / part / folder / f"{folder}(0).jpg")
    return root


def test_kaggle_films_have_the_published_part_and_no_patient(tmp_path):
    manifest = kaggle_covid19_pneumonia.read(kaggle_tree(tmp_path))
    assert manifest["split"].value_counts().to_dict() == {"train": 3, "test": 3}
    assert set(manifest["label"]) == {"covid-19", "normal", "pneumonia"}
    assert manifest["patient_id"].isna().all()


def test_kaggle_ids_do_not_depend_on_whether_the_folder_data_was_named(tmp_path):
    kaggle_tree(tmp_path)
    outer, inner = kaggle_covid19_pneumonia.read(tmp_path), kaggle_covid19_pneumonia.read(tmp_path / "Data")
    assert outer["image_id"].tolist() == inner["image_id"].tolist()


def test_kaggle_sources_tell_that_covid_films_come_from_elsewhere(tmp_path):
    manifest = kaggle_covid19_pneumonia.read(kaggle_tree(tmp_path))
    by_label = manifest.groupby("label")["source"].unique().map(list).to_dict()
    assert by_label["normal"] == by_label["pneumonia"] != by_label["covid-19"]


# kermany -------------------------------------------------------------------------------------------------------------


def kermany_tree(root: Path) -> Path:
    return films(
        root / "chest_xray",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
        "train/PNEUMONIA/person12_bacteria_46.jpeg",
        "train/PNEUMONIA/person12_bacteria_47.jpeg",
        "train/PNEUMONIA/person12_virus_30.jpeg",
        "train/PNEUMONIA/person447_virus_921_1.jpeg",
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        "test/NORMAL/NORMAL2-IM-0201-0001-0002.jpeg",
        "test/PNEUMONIA/person80_virus_150.jpeg",
    )


def test_kermany_cause_and_patient_come_from_the_names(tmp_path):
    manifest = kermany.read(kermany_tree(tmp_path).parent)
    labels, patients = by_name(manifest, "label"), by_name(manifest, "patient_id")
    assert labels["person12_bacteria_46.jpeg"] == "pneumonia/bacterial"
    assert labels["person447_virus_921_1.jpeg"] == "pneumonia/viral"
    assert labels["IM-0115-0001.jpeg"] == "normal"
    assert patients["person12_bacteria_46.jpeg"] == patients["person12_bacteria_47.jpeg"]
    assert patients["NORMAL2-IM-0201-0001-0002.jpeg"] == "kermany/NORMAL2-IM-0201"
    assert patients["person447_virus_921_1.jpeg"] == "kermany/person447-virus"


def test_kermany_children_of_one_number_but_another_list_are_not_merged(tmp_path):
    patients = by_name(kermany.read(kermany_tree(tmp_path)), "patient_id")
    assert patients["person12_bacteria_46.jpeg"] != patients["person12_virus_30.jpeg"]
    assert patients["IM-0115-0001.jpeg"] != patients["NORMAL2-IM-0115-0001.jpeg"]


def test_kermany_a_child_in_two_parts_keeps_one_id(tmp_path):
    films(
        tmp_path / "chest_xray",
        "train/PNEUMONIA/person7_virus_1.jpeg",
        "train/NORMAL/IM-0001-0001.jpeg",
        "test/PNEUMONIA/person7_virus_2.jpeg",
    )
    manifest = kermany.read(tmp_path)
    patients = by_name(manifest, "patient_id")
    assert patients["person7_virus_1.jpeg"] == patients["person7_virus_2.jpeg"]
    assert set(manifest["split"]) == {"train", "test"}


def test_kermany_films_are_ap_as_their_authors_say_and_so_are_those_in_the_kaggle_collection(tmp_path):
    assert set(kermany.read(kermany_tree(tmp_path / "a"))["view"]) == {"AP"}
    manifest = kaggle_covid19_pneumonia.read(kaggle_tree(tmp_path / "b"))
    assert manifest.groupby("label")["view"].count().to_dict() == {"covid-19": 0, "normal": 2, "pneumonia": 2}


def test_kermany_val_is_the_published_validation_part(tmp_path):
    assert by_name(kermany.read(kermany_tree(tmp_path)), "split")["NORMAL2-IM-1427-0001.jpeg"] == "validation"


def test_kermany_the_second_tree_in_kaggles_archive_is_counted_and_not_read(tmp_path):
    kermany_tree(tmp_path)
    kermany_tree(tmp_path / "chest_xray")
    film(tmp_path / "chest_xray" / "__MACOSX" / "chest_xray" / "train" / "NORMAL" / "IM-0115-0001.jpeg")
    manifest = kermany.read(tmp_path)
    assert len(manifest) == 9
    assert left_out(manifest) == [("films outside the class folders", 9)]


def test_kermany_flat_layout_has_no_published_part(tmp_path):
    films(
        tmp_path,
        "NORMAL/IM-0115-0001.jpeg",
        "BACTERIAL/person1_bacteria_1.jpeg",
        "VIRAL/person1_virus_6.jpeg",
    )
    manifest = kermany.read(tmp_path)
    assert sorted(manifest["label"]) == ["normal", "pneumonia/bacterial", "pneumonia/viral"]
    assert manifest["split"].isna().all()


def test_kermany_the_authors_own_names_tell_patient_and_cause(tmp_path):
    films(tmp_path / "chest_xray", "train/NORMAL/NORMAL-28501-0001.jpeg", "test/PNEUMONIA/BACTERIA-30629-0001.jpeg")
    manifest = kermany.read(tmp_path)
    assert set(manifest["patient_id"]) == {"kermany/28501", "kermany/30629"}
    assert set(manifest["label"]) == {"normal", "pneumonia/bacterial"}


def test_kermany_a_name_that_contradicts_its_folder_is_refused(tmp_path):
    films(tmp_path, "NORMAL/IM-0115-0001.jpeg", "BACTERIAL/person1_virus_6.jpeg", "VIRAL/person2_virus_7.jpeg")
    with pytest.raises(DataError, match=r"person1_virus_6.*'pneumonia/bacterial'.*'pneumonia/viral'"):
        kermany.read(tmp_path)


# darkcovidnet --------------------------------------------------------------------------------------------------------


def test_darkcovidnet_follow_up_films_of_one_nih_patient_share_an_id(tmp_path):
    films(
        tmp_path,
        "Covid-19/lancet-case2a.jpg",
        "No_findings/00001323_001.jpg",
        "Pneumonia/00001323_014.jpg",
        "Pneumonia/.DS_Store.png",
        "Pneumonia/notes.png.bak.png",
    )
    table(tmp_path / "Pneumonia" / "readme.txt", "not a film")
    manifest = darkcovidnet.read(tmp_path)
    patients = by_name(manifest, "patient_id")
    assert patients["00001323_001.jpg"] == patients["00001323_014.jpg"] == "darkcovidnet/nih/00001323"
    assert by_name(manifest, "follow_up")["00001323_014.jpg"] == 14
    assert manifest.loc[manifest["label"] == "covid-19", "patient_id"].isna().all()
    assert by_name(manifest, "source")["lancet-case2a.jpg"] == "darkcovidnet/cohen"
    assert left_out(manifest) == [("files that are no film", 1)]


def test_a_darkcovidnet_film_that_does_not_tell_its_hospital_is_not_given_one(tmp_path):
    films(tmp_path, "Covid-19/a.jpg", "No_findings/scan.jpg", "Pneumonia/00000001_000.jpg", "Pneumonia/other.jpg")
    sources = by_name(darkcovidnet.read(tmp_path), "source")
    assert sources["scan.jpg"] == sources["other.jpg"] == "darkcovidnet"
    assert sources["00000001_000.jpg"] == "darkcovidnet/nih"


# cohen and figure1 ---------------------------------------------------------------------------------------------------

COHEN_HEAD = "patientid,offset,sex,age,finding,view,modality,location,folder,filename,license"


def cohen_tree(root: Path, *rows: str, head: str = COHEN_HEAD) -> Path:
    table(root / "metadata.csv", head, *rows)
    for row in rows:
        name = row.split(",")[-2]
        if name.endswith((".png", ".jpg")) and "absent" not in name:
            film(root / "images" / name)
    return root


def test_cohen_fields_are_read_and_unknown_ones_are_missing(tmp_path):
    cohen_tree(
        tmp_path,
        "2,3,M,65,COVID-19,AP Supine,X-ray,Hanoi,images,a.png,CC BY",
        "7,?,,,todo,?,X-ray,,images,b.jpg,",
    )
    manifest = cohen.read(tmp_path)
    row = manifest.iloc[0]
    assert (row["label"], row["patient_id"], row["sex"]) == ("covid-19", "cohen/2", "M")
    assert (row["age_years"], row["offset_days"]) == (65.0, 3.0)
    assert (row["view"], row["view_as_written"], row["location"]) == ("AP supine", "AP Supine", "Hanoi")
    assert (row["finding"], row["license"], row["image_id"]) == ("COVID-19", "CC BY", "cohen/images/a.png")
    assert manifest.loc[1, ["label", "sex", "age_years", "offset_days", "view"]].isna().all()
    assert manifest.loc[1, "finding"] == "todo"


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", "covid-19"),
        ('"COVID-19, ARDS"', "covid-19/ards"),
        ("ARDS", "ards"),
        ("SARS", "pneumonia/viral/sars"),
        ("Pneumocystis", "pneumonia/fungal/pneumocystis"),
        ("Mycoplasma Bacterial Pneumonia", "pneumonia/bacterial/mycoplasma"),
        ("E.Coli", "pneumonia/bacterial/e-coli"),
        ("Pneumonia", "pneumonia"),
        ("No Finding", "normal"),
        ("Tuberculosis", "tuberculosis"),
        ("Pneumonia/Viral/COVID-19", "covid-19"),
        ("Pneumonia/Bacterial/Streptococcus", "pneumonia/bacterial/streptococcus"),
        ("Pneumonia/Viral/MERS-CoV", "pneumonia/viral/mers"),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", "pneumonia/bacterial/staphylococcus/mrsa"),
    ],
)
def test_cohen_findings_of_both_spellings_become_labels(tmp_path, finding, label):
    cohen_tree(tmp_path, f"2,,,,{finding},PA,X-ray,,images,a.png,")
    assert cohen.read(tmp_path)["label"].tolist() == [label]


def test_cohen_rows_without_an_image_and_volumes_are_left_out_and_counted(tmp_path):
    cohen_tree(
        tmp_path,
        "2,,,,COVID-19,PA,X-ray,,images,a.png,",
        "3,,,,COVID-19,PA,X-ray,,images,absent.png,",
        "4,,,,COVID-19,Axial,CT,,volumes,v.nii.gz,",
    )
    film(tmp_path / "images" / "stray.png")
    manifest = cohen.read(tmp_path)
    assert len(manifest) == 1
    assert dict(left_out(manifest)) == {
        "rows that name a CT volume": 1,
        "rows whose image is not there": 1,
        "films that no row names": 1,
    }


def test_cohen_a_film_entered_twice_is_one_film_and_counted(tmp_path):
    cohen_tree(
        tmp_path,
        "285,30,,,Pneumonia,PA,X-ray,,images,a.png,",
        "339,30,F,,Pneumonia,PA,X-ray,,images,a.png,",
    )
    manifest = cohen.read(tmp_path)
    assert manifest["patient_id"].tolist() == ["cohen/285"]
    assert manifest["sex"].tolist() == ["F"]  # what the first row lacks comes from the second
    assert left_out(manifest) == [("rows that name a film again, merged into the first", 1)]


def test_cohen_two_findings_for_one_film_are_refused_with_both_lines(tmp_path):
    cohen_tree(
        tmp_path,
        "2,,,,COVID-19,PA,X-ray,,images,a.png,",
        "2,,,,SARS,PA,X-ray,,images,a.png,",
    )
    with pytest.raises(DataError, match=r"line 2 says label 'covid-19'.*line 3 says 'pneumonia/viral/sars'"):
        cohen.read(tmp_path)


def test_cohen_a_missing_column_is_named(tmp_path):
    table(tmp_path / "metadata.csv", "patientid,finding,modality,filename", "2,COVID-19,X-ray,a.png")
    with pytest.raises(DataError, match=r"'view' is missing"):
        cohen.read(tmp_path)


def test_cohen_without_any_image_is_refused_with_the_count(tmp_path):
    cohen_tree(tmp_path, "2,,,,COVID-19,PA,X-ray,,images,absent.png,")
    with pytest.raises(DataError, match=r"no film in it .rows whose image is not there: 1"):
        cohen.read(tmp_path)


def test_figure1_letters_are_films_of_one_patient_and_vague_ages_are_missing(tmp_path):
    table(
        tmp_path / "metadata.csv",
        "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,artifacts/distortion,notes",
        "COVID-00039a,10,F,77,COVID-19,,,80,AP erect,X-ray,,",
        "COVID-00039b,10,F,77,No finding,,,,AP erect,X-ray,,",
        "COVID-00040,,,early 40s,,,,,,X-ray,,",
        "COVID-00099,,,50+,Pneumonia,,,,PA,X-ray,,",
    )
    films(tmp_path / "images", "COVID-00039a.jpg", "COVID-00039b.png", "COVID-00040.jpg")
    manifest = figure1.read(tmp_path)
    assert manifest["patient_id"].tolist() == ["figure1/COVID-00039", "figure1/COVID-00039", "figure1/COVID-00040"]
    assert manifest["label"].fillna("").tolist() == ["covid-19", "normal", ""]
    assert manifest["view"].fillna("").tolist() == ["AP", "AP", ""]
    assert manifest["age_years"].fillna(-1).tolist() == [77.0, 77.0, -1.0]
    assert manifest["age_as_written"].tolist()[2] == "early 40s"
    assert left_out(manifest) == [("rows whose image is not there", 1)]


def test_figure1s_old_windows_encoding_is_read(tmp_path):
    head = "patientid,offset,sex,age,finding,view,modality,notes\n"
    (tmp_path / "metadata.csv").write_bytes(head.encode() + b"a,,,,COVID-19,,X-ray,Fever 38\xb0 low 90\x92s\n")
    film(tmp_path / "images" / "a.png")
    assert figure1.read(tmp_path)["notes"].tolist() == ["Fever 38° low 90’s"]


# rsna ----------------------------------------------------------------------------------------------------------------


def rsna_tree(root: Path, *, target: str = "1") -> Path:
    table(
        root / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        "ill,264.0,152.0,213.0,379.0,1",
        f"ill,562.0,152.0,256.0,453.0,{target}",
        "well,,,,,0",
        "strange,,,,,0",
    )
    table(
        root / "stage_2_detailed_class_info.csv",
        "patientId,class",
        "ill,Lung Opacity",
        "ill,Lung Opacity",
        "well,Normal",
        "strange,No Lung Opacity / Not Normal",
    )
    images = root / "stage_2_train_images"
    dicom_film(images / "ill.dcm", PatientID="ill", ViewPosition="AP", PatientSex="F", PatientAge="051Y", Modality="CR")
    dicom_film(
        images / "well.dcm", PatientID="well", ViewPosition="PA", PatientSex="M", PatientAge="155Y", Modality="CR"
    )
    dicom_film(images / "strange.dcm", PatientID="strange", Modality="CR", BodyPartExamined="CHEST")
    return root


def test_rsna_has_a_row_a_film_with_its_boxes_and_header(tmp_path):
    manifest = rsna.read(rsna_tree(tmp_path)).set_index("patient_id")
    ill = manifest.loc["rsna/ill"]
    assert (ill["label"], ill["finding"], ill["view"], ill["sex"]) == ("pneumonia", "Lung Opacity", "AP", "F")
    assert ill["age_years"] == 51.0
    assert json.loads(ill["boxes"]) == [[264.0, 152.0, 213.0, 379.0], [562.0, 152.0, 256.0, 453.0]]
    assert manifest["label"].to_dict() == {"rsna/ill": "pneumonia", "rsna/well": "normal", "rsna/strange": "other"}
    assert manifest["boxes"].isna().tolist() == [False, True, True]


def test_rsna_an_impossible_age_is_missing(tmp_path):
    manifest = rsna.read(rsna_tree(tmp_path)).set_index("patient_id")
    assert manifest["age_years"].isna()["rsna/well"]


def test_rsna_a_target_that_contradicts_its_class_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"stage_2_train_labels.csv line 3: patient ill has a Target that contradicts"):
        rsna.read(rsna_tree(tmp_path, target="0"))


def test_rsna_an_unknown_class_is_refused_with_the_nearest(tmp_path):
    rsna_tree(tmp_path)
    table(tmp_path / "stage_2_detailed_class_info.csv", "patientId,class", "ill,Lung Opacities", "well,Normal")
    with pytest.raises(DataError, match=r"line 2.*'Lung Opacities'.*Did you mean 'Lung Opacity'"):
        rsna.read(tmp_path)


def test_rsna_films_that_are_not_there_are_counted(tmp_path):
    rsna_tree(tmp_path)
    (tmp_path / "stage_2_train_images" / "well.dcm").unlink()
    assert left_out(rsna.read(tmp_path)) == [("patients whose film is not there", 1)]


# covidx --------------------------------------------------------------------------------------------------------------


def covidx_tree(root: Path, lines: list[str], name: str = "train_COVIDx5.txt") -> Path:
    table(root / name, *lines)
    for line in lines:
        film(root / "data" / name.split("_")[0] / line.split()[1])
    return root


def test_covidx_lists_of_four_columns_tell_the_source(tmp_path):
    covidx_tree(tmp_path, ["2 a.jpeg COVID-19 cohen", "ff-01 b.png normal rsna"])
    covidx_tree(tmp_path, ["3 c.jpeg pneumonia cohen"], "test_COVIDx5.txt")
    manifest = covidx.read(tmp_path)
    assert by_name(manifest, "source") == {"a.jpeg": "covidx/cohen", "b.png": "covidx/rsna", "c.jpeg": "covidx/cohen"}
    assert by_name(manifest, "patient_id")["b.png"] == "covidx/rsna/ff-01"
    assert by_name(manifest, "split") == {"a.jpeg": "train", "b.png": "train", "c.jpeg": "test"}


def test_covidx_lists_of_three_columns_tell_the_cause_in_the_first_version(tmp_path):
    covidx_tree(tmp_path, ["29 a.jpg bacteria", "3 b.jpeg viral", "10000927 c.jpeg normal"], "train_split.txt")
    assert sorted(covidx.read(tmp_path)["label"]) == ["normal", "pneumonia/bacterial", "pneumonia/viral"]


def test_covidx_positive_is_covid_and_negative_stays_negative(tmp_path):
    covidx_tree(tmp_path, ["a a.png positive ricord", "b b.png negative rsna"])
    assert by_name(covidx.read(tmp_path), "label") == {"a.png": "covid-19", "b.png": "negative"}


def test_covidx_names_with_blanks_are_told_from_the_patient_by_the_file(tmp_path):
    table(tmp_path / "train_COVIDx5.txt", "COVID 12 COVID-19 (12).png COVID-19 sirm")
    film(tmp_path / "data" / "train" / "COVID-19 (12).png")
    manifest = covidx.read(tmp_path)
    assert manifest["patient_id"].tolist() == ["covidx/sirm/COVID 12"]


def test_covidx_a_film_listed_under_two_patients_is_one_film(tmp_path):
    covidx_tree(tmp_path, ["287 a.jpg pneumonia cohen", "340 a.jpg pneumonia cohen"])
    manifest = covidx.read(tmp_path)
    assert manifest["patient_id"].tolist() == ["covidx/cohen/287"]
    assert left_out(manifest) == [("lines that name a film again, merged into the first", 1)]


def test_covidx_lists_of_several_versions_need_one_to_be_named(tmp_path):
    covidx_tree(tmp_path, ["2 a.jpeg COVID-19 cohen"], "train_COVIDx4.txt")
    covidx_tree(tmp_path, ["2 b.jpeg COVID-19 cohen"], "train_COVIDx5.txt")
    with pytest.raises(RequestError, match=r"COVIDx4, COVIDx5"):
        covidx.read(tmp_path)
    assert len(covidx.read(tmp_path, version="COVIDx4")) == 1


def test_covidx_a_line_of_another_form_is_refused_with_its_number(tmp_path):
    covidx_tree(tmp_path, ["2 a.jpeg COVID-19 cohen", "3 b.jpeg measles cohen"])
    with pytest.raises(DataError, match=r"train_COVIDx5.txt line 2: .*measles"):
        covidx.read(tmp_path)


def test_covidx_films_that_are_not_there_are_counted(tmp_path):
    covidx_tree(tmp_path, ["2 a.jpeg COVID-19 cohen", "3 b.jpeg normal rsna"])
    (tmp_path / "data" / "train" / "b.jpeg").unlink()
    assert left_out(covidx.read(tmp_path)) == [("lines whose film is not there", 1)]


# all -----------------------------------------------------------------------------------------------------------------

PUBLIC = [kaggle_covid19_pneumonia, kermany, darkcovidnet, cohen, figure1, rsna, covidx]


@pytest.mark.parametrize("reader", PUBLIC, ids=lambda reader: reader.NAME)
def test_a_path_that_is_not_there_is_refused_with_the_nearest_name(reader, tmp_path):
    (tmp_path / "kermany").mkdir()
    with pytest.raises(RequestError, match=r"no such file or folder.*Did you mean 'kermany'"):
        reader.read(tmp_path / "kermani")


@pytest.mark.parametrize("reader", PUBLIC, ids=lambda reader: reader.NAME)
def test_an_empty_folder_is_refused_and_not_recognised(reader, tmp_path):
    assert not reader.recognises(tmp_path)
    with pytest.raises(HilumError):
        reader.read(tmp_path)


@pytest.mark.parametrize("reader", PUBLIC, ids=lambda reader: reader.NAME)
def test_the_data_sheet_tells_what_the_collection_is(reader):
    for entry in ("Images", "Layout", "Labels", "Patients", "Faults", "Access", "Citation"):
        assert f"\n{entry} " in reader.__doc__, entry
