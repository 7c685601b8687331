"""Films that stand twice in a manifest."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import SHARED
from hilum.data import near
from hilum.data.duplicates import clusters, find, links
from hilum.data.near import NEAR, near_pairs
from hilum.data.phantom.render import film
from hilum.errors import DataError
from hilum.image.fingerprint import BITS, mirrored, perceptual_hash

RNG = np.random.default_rng(0)


def manifest(*films: tuple[str, str | None, str | None]) -> pd.DataFrame:
    return pd.DataFrame(films, columns=["image_id", "sha256", "phash"]).astype("string")


def phash(*flipped: int) -> str:
    """The fingerprint of no set bit, with some bits set."""
    bits = np.zeros(BITS, np.uint8)
    bits[list(flipped)] = 1
    return np.packbits(bits).tobytes().hex()


def fingerprints_with_copies(count: int, shares: list[float]) -> np.ndarray:
    """Random fingerprints, followed by a copy of the first ones that differs in the share of bits."""
    bits = RNG.integers(0, 2, (count, BITS)).astype(np.uint8)
    copies = bits[: len(shares)].copy()
    for copy, share in zip(copies, shares, strict=True):
        copy[RNG.choice(BITS, round(share * BITS), replace=False)] ^= 1
    return np.packbits(np.concatenate([bits, copies]), axis=1).view(np.uint64)


def test_equal_bytes_are_exact_and_equal_pictures_are_near() -> None:
    pairs = find(manifest(("c", "11", phash(3)), ("a", "11", phash(3)), ("b", "22", phash(3, 4)), ("d", "33", None)))
    assert pairs.to_dict("records") == [
        {"image_id_a": "a", "image_id_b": "b", "kind": "near", "distance": 1 / 1024},
        {"image_id_a": "a", "image_id_b": "c", "kind": "exact", "distance": 0.0},
        {"image_id_a": "b", "image_id_b": "c", "kind": "near", "distance": 1 / 1024},
    ]


def test_one_fingerprint_in_two_files_is_a_near_duplicate_at_distance_0() -> None:
    pairs = find(manifest(("a", "11", phash(3)), ("b", "22", phash(3))))
    assert pairs[["kind", "distance"]].to_numpy().tolist() == [["near", 0.0]]


def test_the_limit_is_16_percent_of_the_bits() -> None:
    within, beyond = 163, 164  # of 1024
    # Flipped bits in one run leave most bands whole, so that the limit decides and not chance.
    assert len(find(manifest(("a", None, phash()), ("b", None, phash(*range(within)))))) == 1
    assert len(find(manifest(("a", None, phash()), ("b", None, phash(*range(beyond)))))) == 0


def test_missing_hashes_are_equal_to_nothing() -> None:
    films = manifest(("a", None, None), ("b", None, None), ("c", "11", ""), ("d", "22", ""))
    assert find(films).empty
    assert clusters(films).tolist() == ["a", "b", "c", "d"]


def test_a_manifest_without_hashes_is_refused() -> None:
    with pytest.raises(DataError, match="sha256 and phash are empty"):
        find(manifest(("a", None, None), ("b", None, None)))
    with pytest.raises(DataError, match="sha256 and phash are empty"):
        find(manifest(("a", "11", None)).drop(columns="phash"))


def test_fingerprints_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="256 hexadecimal digits, not 16"):
        find(manifest(("a", "11", "8f373714acfcf4d0")))


def test_an_empty_manifest_has_no_duplicates() -> None:
    assert find(manifest()).columns.tolist() == ["image_id_a", "image_id_b", "kind", "distance"]
    assert find(manifest()).empty
    assert clusters(manifest()).empty


def test_a_chain_of_duplicates_is_one_cluster_named_by_its_smallest_id() -> None:
    films = manifest(("c", "11", None), ("b", "11", phash(1)), ("a", "22", phash(2)), ("z", "33", phash(*range(600))))
    assert clusters(films).to_dict() == {"c": "a", "b": "a", "a": "a", "z": "z"}


def test_clusters_do_not_depend_on_the_order_of_the_rows() -> None:
    table = pd.DataFrame({"bits": list(fingerprints_with_copies(60, [0.05] * 20))})
    films = manifest(*[(f"{n:02d}", None, row.tobytes().hex()) for n, row in enumerate(table["bits"])])
    shuffled = films.sample(frac=1, random_state=1)
    assert clusters(films).to_dict() == clusters(shuffled).to_dict()
    assert find(films).equals(find(shuffled))
    assert len(find(films)) == 20


def test_a_pair_is_found_whatever_other_films_there_are() -> None:
    bits = fingerprints_with_copies(400, [0.155])
    (alone, _), _ = near_pairs(bits[[0, 400]])
    (among, _), _ = near_pairs(bits)
    assert len(alone) == len(among)


def like_films(count: int) -> np.ndarray:
    """Bits (count, 1024) that are not all as often 1 as 0, and that depend on one another, as those of films."""
    values = RNG.normal(0, 0.3, BITS) + RNG.normal(size=(count, 20)) @ RNG.normal(0, 0.3, (20, BITS))
    return (values + RNG.normal(size=(count, BITS)) > 0).astype(np.uint8)


@pytest.mark.parametrize("narrowest", [10, 20], ids=["bands of their number", "bands of a million"])
@pytest.mark.parametrize("kind", ["random", "like films"])
def test_near_pairs_are_those_of_comparing_all(kind: str, narrowest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_NARROWEST", narrowest)
    films = like_films(1200) if kind == "like films" else RNG.integers(0, 2, (1200, BITS), dtype=np.uint8)
    copies = films[:400] ^ (RNG.random((400, BITS)) < np.linspace(0, 0.2, 400)[:, None])
    packed = np.packbits(np.concatenate([films, copies]), axis=1).view(np.uint64)
    packed[1200::2] = mirrored(packed[1200::2])
    packed = packed[RNG.permutation(len(packed))]
    for found, others in zip(near_pairs(packed), (packed, mirrored(packed)), strict=True):
        difference = np.array([np.bitwise_count(row ^ others).sum(axis=1, dtype=np.int64) for row in packed]) / BITS
        expected = np.argwhere(np.triu(difference <= NEAR, 1))
        assert found[0].tolist() == expected.tolist()
        assert found[1].tolist() == difference[tuple(expected.T)].tolist()
        assert 120 < len(expected) < 200


@pytest.mark.parametrize("among", [63, 128, BITS])
def test_a_pair_that_differs_in_fewer_than_64_bits_is_found_wherever_they_are(among: int) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (100, BITS), dtype=np.uint8)
    copies = bits.copy()
    for row, copy in enumerate(copies):
        copy[(row + rng.permutation(among)[:63]) % BITS] ^= 1
    (pairs, _), _ = near_pairs(np.packbits(np.concatenate([bits, copies]), axis=1).view(np.uint64))
    assert pairs.tolist() == [[row, row + 100] for row in range(100)]


def test_many_copies_of_one_film_are_chained_and_not_paired() -> None:
    films = manifest(*[(f"{n:05d}", "11", phash(5)) for n in range(5000)])
    assert len(links(films)) < 3 * len(films)
    assert clusters(films).nunique() == 1


def test_the_row_index_of_the_table_does_not_matter() -> None:
    films = manifest(("a", "11", phash(1)), ("b", "11", phash(1)))
    assert find(films.set_index(pd.Index([7, 7]))).equals(find(films))


def test_phantoms_of_different_patients_are_not_duplicates() -> None:
    """They have less in them than films, and the demo would show false duplicates."""
    hashes = [perceptual_hash(film(0, patient=patient, side_px=128).pixels) for patient in range(150)]
    assert find(manifest(*[(f"{n}", None, text) for n, text in enumerate(hashes)])).empty


@pytest.fixture(scope="module")
def fingerprints() -> pd.DataFrame:
    if not (SHARED / "data").is_dir():
        pytest.skip("no real films")
    folders = ["kermany", "kermany-large", "kaggle-covid19-pneumonia/Data/test", "cohen", "figure1"]
    paths = [path for name in folders for path in sorted((SHARED / "data" / name).rglob("*.[jp]*g"))]
    hashes = [perceptual_hash(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) for path in paths]
    ids = [str(path.relative_to(SHARED / "data")) for path in paths]
    return pd.DataFrame({"image_id": ids, "sha256": pd.NA, "phash": hashes}).astype("string")


@pytest.mark.real
def test_every_large_film_of_kermany_is_found_in_kermany(fingerprints: pd.DataFrame) -> None:
    films = fingerprints[fingerprints["image_id"].str.startswith("kermany")]
    pairs = find(films)
    across = pairs[pairs["image_id_a"].str.startswith("kermany-large") & pairs["image_id_b"].str.startswith("kermany/")]
    same_name = across["image_id_a"].map(lambda x: Path(x).name) == across["image_id_b"].map(lambda x: Path(x).name)
    assert across.loc[same_name, "image_id_a"].nunique() == 630
    # The six others: of three films, kermany holds an equal file under another name, and kermany-large both.
    assert len(across) == 636


@pytest.mark.real
def test_every_normal_and_pneumonia_test_film_of_the_kaggle_collection_is_in_kermany(
    fingerprints: pd.DataFrame,
) -> None:
    films = fingerprints[fingerprints["image_id"].str.contains(r"^kermany/|Data/test/(?:NORMAL|PNEUMONIA)")]
    pairs = find(films)
    found = pairs.loc[pairs["image_id_b"].str.startswith("kermany/"), "image_id_a"]
    found = found[found.str.startswith("kaggle")]
    assert found.nunique() == 317 + 855


@pytest.mark.real
def test_a_child_of_kermany_stands_in_figure1_as_covid_19(fingerprints: pd.DataFrame) -> None:
    """Seen by eye: figure1's COVID-00020 is Kermany's person1004_virus_1686, a child of 1 to 5 years."""
    pairs = find(fingerprints[fingerprints["image_id"].str.contains("^kermany/|^figure1/")])
    across = pairs[pairs["image_id_a"].str.startswith("figure1") & pairs["image_id_b"].str.startswith("kermany")]
    assert [(Path(a).stem, Path(b).stem) for a, b in zip(across["image_id_a"], across["image_id_b"], strict=True)] == [
        ("COVID-00020", "person1004_virus_1686")
    ]


ARDS = "covid-19-rapidly-progressive-acute-respiratory-distress-syndrome-ards-"
IN_COHEN_TWICE = {  # each pair was looked at
    ("16660_2_1", f"{ARDS}admission"),
    ("16660_3_1", f"{ARDS}day-1"),
    ("16660_4_1", f"{ARDS}day-2"),
    ("16660_5_1", f"{ARDS}day-3"),
    ("353889E0-A1E8-4F9E-A0B8-F24F36BCFBFB", "case_72_RX-TORACE1"),
    ("35AF5C3B-D04D-4B4B-92B7-CB1F67D83085", "D5ACAA93-C779-4E22-ADFA-6A220489F840"),
    ("3d4364c0e44859e86017ee1660112e_jumbo-1", "81ba2932af55c7663e9d87016776a6_jumbo-1"),
    ("AR-1", "AR-2"),
    ("E63574A7-4188-4C8D-8D17-9D67A18A1AFA", "F4341CE7-73C9-45C6-99C8-8567A5484B63"),
    ("auntminnie-2020_01_31_20_24_2322_2020_01_31_x-ray_coronavirus_US", "nejmoa2001191_f5-PA"),
    ("fx1_lrg", "gr1_lrg"),
}


@pytest.mark.real
def test_the_duplicates_of_cohen_are_those_that_were_seen(fingerprints: pd.DataFrame) -> None:
    """724 films of which some are days, some CT slices apart: the limit must not call those the same."""
    pairs = find(fingerprints[fingerprints["image_id"].str.startswith("cohen")])
    stems = zip(pairs["image_id_a"], pairs["image_id_b"], strict=True)
    assert {(Path(a).stem, Path(b).stem) for a, b in stems} == IN_COHEN_TWICE
