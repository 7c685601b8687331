"""From a network's logits to a mask, its box, and whether to believe it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.data.marked import read_marked
from hilum.data.readers import cohen
from hilum.errors import WeightsError
from hilum.evaluation.segmentation import dice
from hilum.image.decode import decode
from hilum.image.lungs import CROP_MARGIN, LungNetwork, Lungs, mask_of, network_of, overlay
from hilum.image.prepare import lungs_of
from image.lung_pictures import PAIR, ellipses, untrained


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> LungNetwork:
    return LungNetwork(untrained(tmp_path_factory.mktemp("network") / "lungs.safetensors"))


def test_the_two_largest_regions_are_kept_and_their_holes_filled() -> None:
    z = ellipses((18, 32, 9, 20), (46, 32, 9, 20), (32, 5, 2, 2))
    whole = mask_of(z, z.shape)
    assert not whole[5, 32]
    z[30:34, 16:20] = -5.0
    np.testing.assert_array_equal(mask_of(z, z.shape), whole)


def test_a_mask_has_the_films_size_and_lies_where_the_lungs_do() -> None:
    mask = Lungs(PAIR, "").mask(300, 200)
    truth = cv2.resize((PAIR > 0).astype(np.uint8), (200, 300), interpolation=cv2.INTER_NEAREST) > 0
    assert mask.shape == (300, 200)
    assert dice(mask, truth) > 0.97


def test_a_box_holds_the_lungs_and_the_margin_and_stays_on_the_film() -> None:
    rows, columns = Lungs(PAIR, "").box_with_margin(640, 320)
    # The ellipses reach from row 12 to 52 and from column 9 to 55 of 64.
    assert rows.start == pytest.approx((12 / 64 - CROP_MARGIN) * 640, abs=1)
    assert rows.stop == pytest.approx((53 / 64 + CROP_MARGIN) * 640, abs=1)
    assert columns.start == pytest.approx((9 / 64 - CROP_MARGIN) * 320, abs=1)
    at_the_edge = Lungs(ellipses((10, 32, 12, 31), (52, 32, 12, 31)), "").box_with_margin(100, 100)
    assert all(0 <= span.start < span.stop <= 100 for span in at_the_edge)


def test_a_pair_of_lungs_is_believed(network: LungNetwork) -> None:
    assert network.doubt(PAIR, (500, 400)) == ""


@pytest.mark.parametrize(
    ("z", "why"),
    [
        (ellipses(), "0% of the film"),
        (ellipses((32, 32, 31, 31)), "of the film"),
        (ellipses((18, 32, 9, 20)), "width"),
        (ellipses((20, 32, 14, 28), (52, 20, 3, 4)), "only one lung"),
        (ellipses((32, 18, 20, 9), (32, 46, 20, 9)), "shape unlike"),
    ],
    ids=["nothing", "everything", "one lung", "a lung and a speck", "lungs on their side"],
)
def test_what_is_no_pair_of_lungs_is_doubted(network: LungNetwork, z: np.ndarray, why: str) -> None:
    assert why in network.doubt(z, (500, 400))


def test_a_film_of_40_pixels_is_doubted(network: LungNetwork) -> None:
    assert "40 x 40 pixels" in network.doubt(PAIR, (40, 40))


def test_the_mirror_image_of_a_film_has_the_mirror_image_of_its_mask(network: LungNetwork) -> None:
    square = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    np.testing.assert_allclose(network.logits(square)[:, ::-1], network.logits(square[:, ::-1]), atol=1e-4)


def test_an_overlay_shows_the_film_and_the_outline_only() -> None:
    film = np.full((64, 64), 90, np.uint8)
    drawn = overlay(film, PAIR > 0)
    assert drawn.shape == (64, 64, 3)
    changed = (drawn != 90).any(axis=2)
    assert changed.any() and not changed[32, 18]


@pytest.mark.parametrize("damage", ["absent", "cut", "other", "shape"])
def test_a_file_that_is_no_lung_network_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    from safetensors.numpy import load_file, save_file

    path = untrained(tmp_path / "lungs.safetensors")
    match damage:
        case "absent":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:1000])
        case "other":
            save_file({"x": np.zeros(3, np.float32)}, path)
        case "shape":
            held = load_file(path)
            held["down0.bias"] = np.zeros(3, np.float32)
            about = LungNetwork(path).about
            import json

            save_file(held, path, metadata={"hilum": json.dumps(about)})
    with pytest.raises(WeightsError, match=r"lungs\.safetensors"):
        LungNetwork(path)


@pytest.mark.real
def test_the_shipped_network_finds_the_lungs_that_people_drew(shared: Path) -> None:
    films = read_marked(shared / "data/lung-masks")
    for source, least in (("kermany", 0.94), ("cohen", 0.92)):
        found = []
        for row in films[films["source"] == source].iloc[::40].itertuples():
            pixels = decode(Path(row.path)).pixels
            found.append(dice(lungs_of(pixels).mask(*pixels.shape), decode(Path(row.mask)).pixels > 127))
        assert np.mean(found) > least, source


@pytest.mark.real
def test_the_shipped_network_doubts_laterals_and_what_is_no_chest_and_believes_frontal_films(shared: Path) -> None:
    table = cohen.read(shared / "data/cohen")
    table = table[table["modality"] == "X-ray"]
    doubted = {
        view: np.mean([bool(lungs_of(decode(Path(path)).pixels).doubt) for path in films["path"].iloc[::6]])
        for view, films in table.groupby("view")
    }
    assert doubted["lateral"] > 0.8
    assert doubted["PA"] < 0.15
    hand = decode(shared / "data/dicom/cr-extremity-jpeg2000.dcm").pixels
    for picture in (hand, np.zeros((300, 300), np.uint8), np.full((300, 300), 200, np.uint8)):
        assert lungs_of(picture).doubt


def test_the_shipped_network_is_small_and_in_half_precision() -> None:
    import safetensors

    from hilum.image.lungs import SHIPPED

    assert SHIPPED.stat().st_size < 8e6
    with safetensors.safe_open(SHIPPED, framework="numpy") as file:
        assert {str(file.get_slice(name).get_dtype()) for name in file.keys()} == {"F16"}  # noqa: SIM118
    assert set(network_of().about["training"]["licences"]) <= {
        "CC BY 4.0 (Kermany)",
        "CC BY",
        "CC BY 3.0",
        "CC BY 4.0",
        "CC0 1.0",
    }
