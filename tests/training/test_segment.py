"""Training of a lung network on films of a few pixels, and what comes of a kill."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hilum.data.marked import read_marked
from hilum.data.phantom import collection, write
from hilum.errors import RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.image.lungs import LungNetwork
from hilum.recipe.schema import Augment
from hilum.training import segment

SETTINGS = [
    "prepare.side_px=64",
    "stage.epochs=10",
    "stage.batch_size=4",
    "stage.learning_rate=3e-3",
    "stage.ema=0.6",
    "split.test=0.25",
    "split.validation=0.25",
    "evaluate.bootstrap=100",
    "training.workers=1",
]


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic films of 24 patients with the lungs that they were made with."""
    folder = tmp_path_factory.mktemp("marked") / "films"
    films = write(collection(24, seed=5, side_px=64), folder)
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "mask", "class", "patient_id"])
        for row in films.itertuples():
            image, mask = (str(Path(path).relative_to(folder)) for path in (row.path, row.lung_mask))
            table.writerow([image, mask, row.label, row.patient_id])
    return folder


@pytest.fixture(scope="module")
def run(marked: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        recipe = segment.recipe_of(marked, SETTINGS)
        started = segment.start(read_marked(marked), recipe, tmp_path_factory.mktemp("runs") / "lungs")
        return segment.go_on(started)


def test_a_few_epochs_teach_it_where_the_lungs_of_phantoms_are(run: RunFolder) -> None:
    figure = run.metrics()["test"]["dice/films"]
    assert figure["value"] > 0.8
    assert figure["low"] < figure["value"] < figure["high"]
    assert figure["patients"] < figure["n"]


def test_the_run_folder_holds_what_explains_it(run: RunFolder) -> None:
    names = {file.name for file in run.path.iterdir()}
    assert names == {
        "recipe.toml",
        "environment.json",
        "manifest.parquet",
        "history.csv",
        "weights.safetensors",
        "masks.csv",
        "metrics.json",
    }
    assert LungNetwork(run.path / "weights.safetensors").preparation == run.recipe().prepare
    parts = run.manifest().groupby("patient_id")["part"].nunique()
    assert (parts == 1).all()


def test_a_film_on_which_one_lung_alone_is_drawn_is_left_out_by_name(marked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    shutil.copytree(marked, folder)
    films = read_marked(folder)
    half = cv2.imread(films["mask"].iloc[0], cv2.IMREAD_GRAYSCALE)
    half[:, half.shape[1] // 2 :] = 0
    cv2.imwrite(films["mask"].iloc[0], half)
    started = segment.start(films, segment.recipe_of(folder, SETTINGS), tmp_path / "run")
    assert set(films["image_id"]) - set(started.manifest()["image_id"]) == {films["image_id"].iloc[0]}
    assert f"left out, one lung alone is drawn: {films['image_id'].iloc[0]}" in started.environment()["notes"]


def test_a_run_that_was_killed_ends_with_the_weights_it_would_have_had(
    marked: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = segment.start(read_marked(marked), segment.recipe_of(marked, SETTINGS), tmp_path / "again")
    ended, real = [], segment._State.end_epoch

    def killed(state: segment._State, row: dict[str, float]) -> None:
        real(state, row)
        ended.append(row)
        if len(ended) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(segment._State, "end_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        segment.go_on(started)
    monkeypatch.setattr(segment._State, "end_epoch", real)
    segment.go_on(started)
    whole, resumed = (LungNetwork(folder / "weights.safetensors").weights for folder in (run.path, started.path))
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)


def test_film_and_mask_move_alike_and_only_the_film_changes_its_grey_values() -> None:
    spots = torch.zeros(8, 1, 32, 32)
    spots[:, :, 12:20, 5:15] = 0.5
    how = Augment(rotation_deg=30, zoom=0.2, shift=0.2, flip_horizontal=True)
    pair = torch.cat([spots, spots * 2], dim=1)
    moved = segment._augmented(pair, how, torch.Generator().manual_seed(0))
    assert not torch.equal(moved, pair)
    torch.testing.assert_close(moved[:, 1], moved[:, 0] * 2)
    shifted = segment._augmented(pair, Augment(channel_shift=40.0), torch.Generator().manual_seed(0))
    assert torch.equal(shifted[:, 1], pair[:, 1])
    assert not torch.equal(shifted[:, 0], pair[:, 0])


def test_the_loss_is_cross_entropy_and_dice_and_nothing_is_better_than_the_truth() -> None:
    truth = torch.zeros(2, 1, 8, 8)
    truth[:, :, :4] = 1.0
    z = torch.zeros_like(truth)  # p = 0.5: cross entropy ln 2; 2 x 16 + 1 over 16 + 32 + 1
    expected = float(np.log(2)) + 1 - (2 * 16 + 1) / (16 + 32 + 1)
    assert float(segment.overlap_loss(z, truth)) == pytest.approx(expected, rel=1e-5)
    assert float(segment.overlap_loss((truth * 2 - 1) * 30, truth)) == pytest.approx(0.0, abs=1e-4)
    assert F.sigmoid(z).max() == 0.5


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("model.backbone=vgg16", "model"),
        ("prepare.side_px=100", "multiple of 32"),
        ("prepare.lungs=crop", "no meaning"),
        ("stage.epoch=3", "stage.epochs"),
    ],
)
def test_what_means_nothing_for_a_lung_network_is_refused(tmp_path: Path, setting: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        segment.recipe_of(tmp_path, [setting])


def test_a_folder_that_holds_a_run_is_not_written_over(marked: Path, run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    with pytest.raises(RequestError, match="--resume"):
        segment.start(read_marked(marked), segment.recipe_of(marked, SETTINGS), tmp_path / "copy")
