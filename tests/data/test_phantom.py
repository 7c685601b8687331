"""Synthetic films are what they say they are: seeds, masks, contrast, hospitals, shortcuts, files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from hilum.data import phantom
from hilum.data.manifest import read_manifest
from hilum.data.phantom import NORTH, SOUTH, USUAL, Finding, Hospital, Shortcut, anatomy, collection, film, write
from hilum.errors import RequestError

SIDE = 128
# A hospital that shows what the detector saw: no noise, no blur, no sharpening, no letters.
PLAIN = Hospital("plain", noise=0.0, blur_px=0.0, sharpen=0.0, marker="none")
PAIR = {"covid-19": (), "normal": ()}  # two labels that nothing in the lungs tells apart


@pytest.mark.parametrize("kind", USUAL)
@pytest.mark.parametrize("view", ["PA", "AP supine"])
def test_a_finding_lies_inside_the_lungs_and_has_the_size_asked_for(kind: str, view: anatomy.View) -> None:
    for patient in range(4):
        one = film(3, patient=patient, side_px=SIDE, view=view, finding=Finding(kind, size=0.05))
        assert one.finding.any()
        assert not (one.finding & ~one.lungs).any()
        assert one.finding.sum() == pytest.approx(0.05 * one.lungs.sum(), abs=1)
        assert one.facts.size == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize("kind", USUAL)
@pytest.mark.parametrize("contrast", [0.05, 0.12])
def test_a_finding_raises_the_grey_inside_its_mask_by_the_contrast_asked_for(kind: str, contrast: float) -> None:
    for patient in range(3):
        asked = Finding(kind, contrast=contrast, size=0.04)
        healthy = film(5, patient=patient, side_px=SIDE, hospital=PLAIN).pixels.astype(float)
        ill = film(5, patient=patient, side_px=SIDE, hospital=PLAIN, finding=asked)
        rise = (ill.pixels - healthy)[ill.finding].mean()
        assert rise == pytest.approx(255 * contrast, rel=0.08)
        assert ill.facts.contrast == pytest.approx(rise / 255, abs=0.004)


def test_contrast_is_a_promise_of_every_hospital_up_to_noise() -> None:
    for hospital in (NORTH, SOUTH):
        healthy = film(8, hospital=hospital, marks=False).pixels.astype(float)
        ill = film(8, hospital=hospital, marks=False, finding=Finding("ground-glass", contrast=0.1))
        assert (ill.pixels - healthy)[ill.finding].mean() == pytest.approx(25.5, rel=0.15)


def test_a_contrast_that_no_lung_can_give_is_as_strong_as_water_and_the_facts_say_so() -> None:
    one = film(2, side_px=SIDE, finding=Finding("ground-glass", contrast=0.6, size=0.6))
    assert 0.2 < one.facts.contrast < 0.55


@pytest.mark.parametrize("kind", USUAL)
def test_a_finding_changes_nothing_away_from_its_mask(kind: str) -> None:
    healthy, ill = film(4, side_px=SIDE), film(4, side_px=SIDE, finding=Finding(kind))
    near = cv2.dilate(ill.finding.view(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert np.array_equal(healthy.pixels[~near], ill.pixels[~near])
    assert not np.array_equal(healthy.pixels, ill.pixels)


def test_a_finding_lies_on_the_side_asked_for() -> None:
    # The patient's right is the image's left; the spine of an upright film is near the middle.
    for where, share in (("right", 0.0), ("left", 1.0)):
        one = film(6, side_px=SIDE, finding=Finding("consolidation", where=where))
        columns = np.nonzero(one.finding)[1]
        assert (columns > 0.55 * SIDE).mean() == pytest.approx(share, abs=0.02)
        assert one.facts.where == where
    both = film(6, side_px=SIDE, finding=Finding("ground-glass")).finding
    assert both[:, : SIDE // 2].any() and both[:, SIDE // 2 :].any()


def test_the_same_seed_makes_the_same_film_and_another_seed_another() -> None:
    first, again, other = (film(seed, side_px=SIDE, finding=Finding("nodule")) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, again.pixels) and np.array_equal(first.finding, again.finding)
    assert not np.array_equal(first.pixels, other.pixels)


def test_films_of_one_patient_show_one_body_in_another_pose() -> None:
    def bodies(patient: int, number: int) -> np.ndarray:
        shown = film(9, patient=patient, number=number, side_px=SIDE, marks=False, hospital=PLAIN).pixels
        return shown.astype(np.float32)

    first, second = bodies(0, 0), bodies(0, 1)
    assert not np.array_equal(first, second)
    facts = [film(9, patient=0, number=number, side_px=64).facts for number in (0, 1)]
    assert (facts[0].age_years, facts[0].sex) == (facts[1].age_years, facts[1].sex)

    def alike(one: np.ndarray, two: np.ndarray) -> float:
        """Best correlation over small shifts of the middle."""
        middle = cv2.resize(two, (64, 64))[8:-8, 8:-8]
        return float(cv2.matchTemplate(cv2.resize(one, (64, 64)), middle, cv2.TM_CCOEFF_NORMED).max())

    strangers = [alike(first, bodies(patient, 0)) for patient in range(1, 13)]
    assert alike(first, second) > np.median(strangers)


def test_the_heart_is_wider_on_ap_films_and_normal_on_pa_films() -> None:
    ratios: dict[str, list[float]] = {"PA": [], "AP": []}
    for patient in range(40):
        rng = np.random.default_rng(patient)
        body = anatomy.draw_body(rng, 45.0, "F" if patient % 2 else "M")
        for view in ("PA", "AP"):
            heart = anatomy.mediastinum(body, anatomy.draw_pose(np.random.default_rng(patient), body, view))
            ratios[view].append(float(np.ptp(heart[:, 0])) / (2 * body.half_width))
    # A cardiothoracic ratio below 0.5 is the textbook's normal on PA; AP enlarges by 10 to 15 %.
    assert 0.40 < np.mean(ratios["PA"]) < 0.50
    assert 1.08 < np.mean(ratios["AP"]) / np.mean(ratios["PA"]) < 1.25


def test_a_film_has_the_shape_that_side_and_hospital_say() -> None:
    assert film(0, side_px=200).pixels.shape == (200, 200)
    assert film(0, side_px=200, hospital=replace(NORTH, aspect=0.8)).pixels.shape == (200, 160)
    assert film(0, side_px=200, hospital=replace(NORTH, aspect=1.25)).lungs.shape == (160, 200)


def test_patients_do_not_change_when_more_are_added() -> None:
    asked = {"seed": 2, "side_px": 64, "test_share": 0.3, "shortcuts": [Shortcut("duplicate-exact", 0.5, "normal")]}
    few, many = collection(20, **asked), collection(50, **asked)
    assert many.planned[: len(few)] == few.planned
    row = len(few) - 1
    assert np.array_equal(many[row].pixels, few[row].pixels)
    pd.testing.assert_frame_equal(few.manifest, many.manifest.head(len(few)))


def test_prevalence_by_hospital_is_that_asked_for() -> None:
    prevalence = {"north": {"covid-19": 3, "normal": 1}, "south": {"normal": 1}}
    films = collection(400, classes=PAIR, prevalence=prevalence, films_per_patient=(1, 1)).manifest
    north, south = (films[films["source"] == f"phantom-{name}"] for name in ("north", "south"))
    assert len(north) == len(south) == 200
    assert (north["label"] == "covid-19").mean() == pytest.approx(0.75, abs=0.01)
    assert (south["label"] == "normal").all()


def test_the_class_is_decided_inside_the_lungs_and_nowhere_else() -> None:
    films = collection(220, seed=1, side_px=96, classes={"covid-19": (Finding("ground-glass"),), "normal": ()})
    made = list(films)
    y = (films.manifest["label"] == "covid-19").to_numpy()
    patients = films.manifest["patient_id"].to_numpy()

    def auroc(pictures: list[np.ndarray]) -> float:
        x = np.stack([cv2.resize(p, (16, 16), interpolation=cv2.INTER_AREA).ravel() for p in pictures]) / 64.0
        model = LogisticRegression(C=0.02, max_iter=500)
        p = cross_val_predict(model, x, y, groups=patients, cv=GroupKFold(5), method="predict_proba")
        return float(roc_auc_score(y, p[:, 1]))

    whole = [one.pixels for one in made]
    blind = [
        np.where(cv2.dilate(one.lungs.view(np.uint8), np.ones((9, 9), np.uint8)) > 0, 0, one.pixels) for one in made
    ]
    assert auroc(whole) > 0.75
    # 440 films of 220 patients: two standard errors of an AUROC of 0.5 are below 0.08.
    assert abs(auroc(blind) - 0.5) < 0.08


def _blockiness(pixels: np.ndarray) -> float:
    steps = np.abs(np.diff(pixels.astype(float), axis=1)).mean(axis=0)
    return float(steps[7::8].mean() / np.delete(steps, slice(7, None, 8)).mean())


def _frame(pixels: np.ndarray) -> float:
    return -float(np.concatenate([pixels[:, :3].ravel(), pixels[:, -3:].ravel(), pixels[-3:].ravel()]).mean())


SEEN = {
    "marker": lambda row, one: float((one.pixels[-24:-8, :8] > 250).mean()),
    "border": lambda row, one: _frame(one.pixels),
    "contrast": lambda row, one: -float(np.median(one.pixels)),
    "compression": lambda row, one: _blockiness(one.pixels),
    "size": lambda row, one: -float(one.pixels.size),
    "resolution": lambda row, one: -float(cv2.Laplacian(one.pixels, cv2.CV_64F)[20:-20, 20:-20].std()),
    "age": lambda row, one: -row["age_years"],
    "view": lambda row, one: float(row["view"] == "AP supine"),
}


@pytest.mark.parametrize("kind", SEEN)
def test_a_shortcut_tells_the_class_at_strength_1_and_nothing_at_strength_0(kind: str) -> None:
    for strength in (1.0, 0.0):
        films = collection(
            90, seed=4, side_px=128, classes=PAIR, hospitals=[NORTH], films_per_patient=(1, 1),
            shortcuts=[Shortcut(kind, strength, "covid-19")],
        )  # fmt: skip
        manifest = films.manifest
        seen = [SEEN[kind](row, one) for (_, row), one in zip(manifest.iterrows(), films, strict=True)]
        auroc = roc_auc_score(manifest["label"] == "covid-19", seen)
        if strength:
            assert auroc > 0.95
        else:
            # 45 against 45: three standard errors of 0.5, sqrt(91 / (12 * 45 * 45)) = 0.061 each.
            assert abs(auroc - 0.5) < 0.19


@pytest.mark.parametrize("kind", SEEN)
def test_strength_is_the_difference_of_two_probabilities(kind: str) -> None:
    films = collection(1200, classes=PAIR, films_per_patient=(1, 1), shortcuts=[Shortcut(kind, 0.4, "normal")]).planned
    carried = {
        label: np.mean(
            [one.age_years < 18 if kind == "age" else kind in one.shortcuts for one in films if one.label == label]
        )
        for label in PAIR
    }
    # 600 of each: a standard error of 0.028 for the difference.
    assert carried["normal"] - carried["covid-19"] == pytest.approx(0.4, abs=0.085)


def test_films_without_the_age_shortcut_are_of_adults_and_children_look_like_children() -> None:
    assert min(one.age_years for one in collection(300).planned) >= 18
    child, adult = (film(5, side_px=SIDE, age_years=age, sex="M", marks=False) for age in (2.0, 40.0))
    tall = [np.ptp(np.nonzero(one.lungs)[0]) / np.ptp(np.nonzero(one.lungs)[1]) for one in (child, adult)]
    assert tall[0] < 0.95 * tall[1]


@pytest.mark.parametrize(("strength", "share"), [(1.0, 1.0), (0.0, 0.0)])
def test_a_patient_leak_puts_a_patient_of_the_label_into_both_parts(strength: float, share: float) -> None:
    films = collection(
        80,
        classes=PAIR,
        films_per_patient=(2, 3),
        test_share=0.4,
        shortcuts=[Shortcut("patient-leak", strength, "normal")],
    )
    parts = films.manifest.groupby(["label", "patient_id"])["split"].nunique()
    assert (parts["normal"] == 2).mean() == share
    assert (parts["covid-19"] == 1).all()


def test_a_duplicate_stands_in_the_other_part_without_its_patient(tmp_path: Path) -> None:
    kinds = ["duplicate-exact", "duplicate-resized", "duplicate-encoded"]
    films = collection(
        12, side_px=96, classes=PAIR, hospitals=[NORTH], films_per_patient=(1, 1), test_share=0.3,
        shortcuts=[Shortcut(kind, 1.0, "normal") for kind in kinds],
    )  # fmt: skip
    manifest = write(films, tmp_path / "c", masks=False)
    copies = manifest[manifest["patient_id"].isna()]
    originals = manifest[(manifest["split"] == "train") & (manifest["label"] == "normal")]
    assert len(copies) == 3 * len(originals) > 0
    assert set(copies["split"]) == {"test"} and set(copies["label"]) == {"normal"}
    for image_id, path in originals.set_index("image_id")["path"].items():
        own = {
            how: copies.set_index("image_id")["path"][f"{image_id}_{how}"] for how in ("exact", "resized", "encoded")
        }
        original = np.array(Image.open(path))
        assert Path(own["exact"]).read_bytes() == Path(path).read_bytes()
        assert Image.open(own["resized"]).size == (77, 77)  # 0.8 of 96, rounded
        encoded = Image.open(own["encoded"])
        assert encoded.format == "JPEG" and encoded.size == (96, 96)
        assert 0 < np.abs(np.array(encoded) - original.astype(float)).mean() < 8


def test_files_are_in_each_hospitals_format_and_read_back_by_other_libraries(tmp_path: Path) -> None:
    one_each = [
        Hospital("png8"),
        Hospital("png16", bits=16),
        Hospital("jpeg", format="jpeg"),
        Hospital("dicom12", format="dicom", bits=12),
        Hospital("inverse", format="dicom", bits=8, monochrome=1, aspect=0.83),
    ]
    films = collection(5, seed=6, side_px=97, hospitals=one_each, films_per_patient=(1, 1))
    manifest = write(films, tmp_path / "c").set_index("source")
    shown = {plan.hospital.name: films[row].pixels for row, plan in enumerate(films.planned)}

    def path(name: str) -> Path:
        return Path(manifest.loc[f"phantom-{name}", "path"])

    assert np.array_equal(np.array(Image.open(path("png8"))), shown["png8"])
    deep = np.array(Image.open(path("png16")))
    assert deep.max() > 60000 and np.array_equal(deep // 257, shown["png16"])
    assert np.abs(np.array(Image.open(path("jpeg"))) - shown["jpeg"].astype(float)).mean() < 3
    twelve = pydicom.dcmread(path("dicom12"))
    assert (twelve.BitsStored, twelve.PhotometricInterpretation) == (12, "MONOCHROME2")
    assert np.array_equal(np.round(twelve.pixel_array / 4095 * 255), shown["dicom12"])
    inverse = pydicom.dcmread(path("inverse"))
    assert inverse.PhotometricInterpretation == "MONOCHROME1" and inverse.PatientID == "inverse-00004"
    assert np.array_equal(255 - inverse.pixel_array, shown["inverse"])


def test_a_half_written_folder_is_finished_and_stays_the_same(tmp_path: Path) -> None:
    films = collection(4, side_px=64)
    manifest = write(films, tmp_path / "c")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "c").rglob("*.png")}
    lost = Path(manifest["path"].iloc[2])
    content = lost.read_bytes()
    lost.unlink()
    (tmp_path / "c" / "manifest.csv").unlink()
    again = write(films, tmp_path / "c")
    pd.testing.assert_frame_equal(manifest, again)
    assert lost.read_bytes() == content
    untouched = [
        path for path in before if path.is_file() and (path.read_bytes(), path.stat().st_mtime_ns) == before[path]
    ]
    assert len(untouched) >= len(before) - 3
    with pytest.raises(RequestError, match="another synthetic collection"):
        write(collection(4, seed=1, side_px=64), tmp_path / "c")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").touch()
    with pytest.raises(RequestError, match="not empty"):
        write(films, tmp_path / "mine")


def test_the_manifest_that_is_written_names_every_file_and_reads_back(tmp_path: Path) -> None:
    manifest = write(collection(6, side_px=64), tmp_path / "c")
    read = read_manifest(tmp_path / "c" / "manifest.csv")
    assert list(read["image_id"]) == list(manifest["image_id"])
    for row in read.to_dict("records"):
        with Image.open(row["path"]) as one, Image.open(row["lung_mask"]) as lungs:
            assert one.size == lungs.size
        assert pd.isna(row["finding_mask"]) == (row["label"] == "normal")
        if row["label"] != "normal":
            finding = np.array(Image.open(row["finding_mask"]))
            assert set(np.unique(finding)) == {0, 255}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: film(0, side_px=32), "below 64"),
        (lambda: film(-1), "below 0"),
        (lambda: film(0, view="lateral"), "not PA, AP"),
        (lambda: film(0, shortcuts=["patient-leak"]), "cannot carry"),
        (lambda: Finding("cough"), "no such finding"),
        (lambda: Finding("nodule", contrast=0.9), "at most 0.6"),
        (lambda: Finding("nodule", where="up"), "not right, left"),
        (lambda: Shortcut("magic", 1.0, "normal"), "no such shortcut"),
        (lambda: Shortcut("marker", 1.5, "normal"), "not between 0 and 1"),
        (lambda: Shortcut("marker", 1.0), "needs a label"),
        (lambda: Hospital("x", format="jpeg", bits=16), "no writer makes jpeg of 16 bits"),
        (lambda: Hospital("x", aspect=9.0), "aspect"),
        (lambda: collection(0), "needs a patient"),
        (lambda: collection(3, prevalence={"west": {"normal": 1}}), "west"),
        (lambda: collection(3, prevalence={"north": {"measles": 1}}), "measles"),
        (lambda: collection(3, prevalence={"north": {"normal": 0}}), "weights"),
        (lambda: collection(3, hospitals=[NORTH, NORTH]), "one name"),
        (lambda: collection(3, shortcuts=[Shortcut("patient-leak", 1.0)]), "published split"),
        (lambda: collection(3, shortcuts=[Shortcut("marker", 1.0, "measles")]), "measles"),
        (lambda: collection(3, films_per_patient=(3, 1)), "films_per_patient"),
        (lambda: collection(3, test_share=1.0), "test_share"),
    ],
)
def test_a_wrong_request_is_refused_and_says_what_is_wrong(wrong: object, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        wrong()  # type: ignore[operator]


@pytest.mark.real
def test_lungs_are_as_large_and_as_grey_as_on_real_films(shared: Path) -> None:
    pairs = pd.read_csv(shared / "data" / "lung-masks" / "pairs.csv").sample(200, random_state=0)
    share, grey = [], []
    for image, mask in zip(pairs["image"], pairs["mask"], strict=True):
        lungs = cv2.imread(str(shared / "data" / mask), cv2.IMREAD_GRAYSCALE) > 127
        share.append(lungs.mean())
        grey.append(cv2.imread(str(shared / "data" / image), cv2.IMREAD_GRAYSCALE)[lungs].mean())
    made = list(collection(60, seed=5, side_px=128, films_per_patient=(1, 1)))
    own_share, own_grey = np.median([[one.lungs.mean(), one.pixels[one.lungs].mean()] for one in made], axis=0)
    assert np.quantile(share, 0.1) < own_share < np.quantile(share, 0.9)
    assert np.quantile(grey, 0.1) < own_grey < np.quantile(grey, 0.9)


def test_the_names_that_the_docs_use_are_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "phantom.md").read_text(encoding="utf-8")
    for name in (*phantom.KINDS, *USUAL):
        assert f"`{name}`" in page
