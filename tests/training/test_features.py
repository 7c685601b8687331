"""Heads that learn from kept features learn what they would through the frozen backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hilum.data.collect import collect
from hilum.model import classifier as classifiers
from hilum.model import frozen
from hilum.model.classifier import Classifier
from hilum.progress import SILENT, Progress
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Recipe
from hilum.training.features import featured, has_frozen_backbone, head_alone
from hilum.training.prepared import Batch, prepare_films
from hilum.training.stage import StageJob, train_stage
from hilum.training.train import stage_jobs

FROZEN = (
    "data.task=covid-3",
    "split.validation=0.2",
    "prepare.side_px=48",
    "model.backbone=resnet10t",
    "model.weights=none",
    'training.precision="32"',
    "training.workers=1",
    "stage.unfreeze=none",
    "stage.epochs=2",
    "stage.learning_rate=1e-2",
    "stage.batch_size=16",
    "augment.rotation_deg=10",
    "augment.flip_horizontal=true",
    "balance.how=over",
    "model.head.layers=1",
    "model.head.units=16",
    "model.head.batch_norm=true",
    "model.head.dropout=0.3",
)


@pytest.fixture(scope="module")
def films(phantoms: Path) -> pd.DataFrame:
    recipe = load_recipe(settings=[*FROZEN, f'data.source=["{phantoms}"]'])
    manifest = collect(recipe).manifest
    return manifest[manifest["part"] != "test"].reset_index(drop=True)


class Setting:
    """A recipe's network and the job of its only stage, anew each time."""

    def __init__(self, films: pd.DataFrame, folder: Path, *settings: str) -> None:
        self.recipe = load_recipe(settings=[*FROZEN, *settings])
        classes = ["covid-19", "pneumonia", "normal"]
        read = prepare_films(films, classes, self.recipe.prepare, workers=1, progress=SILENT)
        parts = films["part"].to_numpy(object)
        about = {"classes": classes, "device": "cpu"}
        about["precision"] = "bf16-mixed" if self.recipe.training.precision == "bf16" else "32-true"
        (self.job,) = stage_jobs(self.recipe, read, parts, about, folder)
        self.classifier = classifiers.build(self.recipe.model, classes, side_px=48, seed=0)
        self.classifier = self.classifier.to(memory_format=torch.channels_last)
        self.train, self.validation = read.where(parts == "train"), read.where(parts == "validation")
        self.shas = [*films["sha256"][parts == "train"], *films["sha256"][parts == "validation"]]

    def featured(self) -> StageJob:
        return featured(self.classifier, self.job, self.train, self.validation, self.shas, SILENT)

    def learned(self) -> pd.DataFrame:
        return train_stage(head_alone(self.classifier), self.featured(), SILENT).drop(columns="seconds")


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("augment.rotation_deg=0", "augment.flip_horizontal=false"),
        ("augment.rotation_deg=0",),
        ("augment.rotation_deg=0", "model.block.layers=1", "training.precision=bf16"),
        ("stage.side_px=32", "stage.ema=0.9", "model.dropout=0.2"),
        ("model.block.layers=1", "model.block.channels=8"),
        ("training.precision=bf16",),
    ],
    ids=[
        "augmented",
        "plain",
        "mirrored",
        "mirrored, with a block",
        "smaller and averaged",
        "with a block",
        "bfloat16",
    ],
)
def test_a_head_learns_from_features_what_it_learns_through_the_backbone(
    settings: tuple[str, ...], films: pd.DataFrame, tmp_path: Path
) -> None:
    through, kept = Setting(films, tmp_path / "through", *settings), Setting(films, tmp_path / "kept", *settings)
    whole = train_stage(through.classifier, through.job, SILENT).drop(columns="seconds")
    learned = kept.learned()
    pd.testing.assert_frame_equal(learned, whole, rtol=1e-5, atol=1e-6)
    for name, weight in through.classifier.head.state_dict().items():
        torch.testing.assert_close(kept.classifier.head.state_dict()[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [(), ("training.precision=bf16",)], ids=["augmented", "bfloat16"])
def test_a_stage_that_keeps_no_features_learns_the_same(
    settings: tuple[str, ...], films: pd.DataFrame, tmp_path: Path
) -> None:
    kept, passing = Setting(films, tmp_path / "kept", *settings), Setting(films, tmp_path / "passing", *settings)
    job = featured(passing.classifier, passing.job, passing.train, passing.validation, passing.shas, SILENT, keep=False)
    learned = train_stage(head_alone(passing.classifier), job, SILENT).drop(columns="seconds")
    pd.testing.assert_frame_equal(learned, kept.learned(), rtol=1e-6)


@pytest.mark.parametrize(("precision", "most"), [("32", 1e-5), ("bf16", 0.03)])
def test_openvino_makes_the_features_of_many_films(
    precision: str, most: float, films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    setting = Setting(films, tmp_path, f'training.precision="{precision}"')
    batch = Batch(1, 0, setting.job.batches(1)[0])
    by_torch = setting.featured().train.read(batch).float()
    monkeypatch.setattr(frozen, "FEW_FILMS", 0)
    sizes = counted(monkeypatch)
    found = setting.featured().train.read(batch)
    assert found.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert torch.linalg.norm(found.float() - by_torch) <= most * torch.linalg.norm(by_torch)
    assert max(sizes) <= 8  # traced with one film, compared on eight, and computed by OpenVINO


def test_torch_computes_what_openvino_gets_wrong(
    films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(films, tmp_path)
    by_torch = setting.featured().train.read(Batch(0, 0, setting.job.batches(0)[0]))
    monkeypatch.setattr(frozen, "FEW_FILMS", 0)
    monkeypatch.setattr(frozen, "by_openvino", lambda requests, x: np.zeros((len(x), by_torch.shape[1]), np.float32))
    said: list[str] = []
    monkeypatch.setattr(Progress, "say", lambda self, message: said.append(message))
    other = featured(setting.classifier, setting.job, setting.train, setting.validation, ["new"] * 99, Progress())
    assert torch.equal(other.train.read(Batch(0, 0, setting.job.batches(0)[0])), by_torch)
    assert len(said) == 1 and "features that differ by 100.0%; computed with torch" in said[0]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that go through a backbone from now on."""
    sizes: list[int] = []
    whole = Classifier.backbone_output

    def watched(self: Classifier, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.backbone, torch.nn.Identity):
            sizes.append(len(x))
        return whole(self, x)

    monkeypatch.setattr(Classifier, "backbone_output", watched)
    return sizes


def test_films_go_through_the_backbone_once_for_all_heads(
    films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = counted(monkeypatch)
    first = Setting(films, tmp_path / "1")
    first.learned()
    per_epoch = sum(map(len, first.job.batches(0)))
    assert sum(sizes) >= 2 * per_epoch + len(first.validation)
    sizes.clear()
    for number, setting in enumerate(("model.head.units=8", "stage.optimiser=sgd", "model.head.layers=0"), 2):
        Setting(films, tmp_path / str(number), setting).learned()
    assert sizes == []


@pytest.mark.parametrize("keep", [True, False], ids=["a search", "a training"])
def test_films_that_are_only_mirrored_go_through_the_backbone_twice_for_all_epochs(
    keep: bool, films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(films, tmp_path, "augment.rotation_deg=0", "stage.epochs=5")
    sizes = counted(monkeypatch)
    job = featured(setting.classifier, setting.job, setting.train, setting.validation, setting.shas, SILENT, keep=keep)
    train_stage(head_alone(setting.classifier), job, SILENT)
    folding = sizes.pop(0)  # one film shows whether the folded backbone is the same
    assert folding == 1 and sum(sizes) == 2 * len(setting.train) + len(setting.validation)


@pytest.mark.parametrize(
    "setting",
    ["augment.rotation_deg=11", "training.seed=1", "stage.batch_size=8", "balance.how=none", "prepare.equalise=clahe"],
)
def test_another_draw_is_another_pass(
    setting: str, films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Setting(films, tmp_path).featured()
    sizes = counted(monkeypatch)
    Setting(films, tmp_path, setting).featured()
    assert sum(sizes) > 0


def test_a_pass_that_was_cut_short_is_made_again(films: pd.DataFrame, tmp_path: Path, own_cache: Path) -> None:
    setting = Setting(films, tmp_path)
    before = setting.featured()
    batch = Batch(1, 0, setting.job.batches(1)[0])
    whole = before.train.read(batch).clone()
    for kept in (own_cache / "features").glob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:-100])
    assert torch.equal(setting.featured().train.read(batch), whole)


def test_features_stand_in_the_order_of_the_films_that_are_drawn(films: pd.DataFrame, tmp_path: Path) -> None:
    setting = Setting(films, tmp_path, "augment.rotation_deg=0", "augment.flip_horizontal=false")
    job = setting.featured()
    chosen = Batch(1, 2, np.array([5, 0, 7]))
    pixels = setting.train.read(chosen).float() / 255.0
    with torch.inference_mode():
        expected = setting.classifier.eval().backbone_output(pixels)
    torch.testing.assert_close(job.train.read(chosen), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((), True),
        (("stage.unfreeze=0",), True),
        (("stage.unfreeze=3",), False),
        (("stage.unfreeze=all",), False),
        (("augment.mixup=0.4",), False),
    ],
)
def test_features_are_for_backbones_that_never_learn(settings: tuple[str, ...], expected: bool) -> None:
    assert has_frozen_backbone(load_recipe(settings=[*FROZEN, *settings])) is expected


def test_one_stage_that_unfreezes_is_enough_to_need_the_backbone() -> None:
    base = load_recipe(settings=FROZEN).model_dump(mode="json", exclude_none=True)
    base["stage"] = [base["stage"][0], {**base["stage"][0], "unfreeze": "all"}]
    assert not has_frozen_backbone(Recipe.model_validate(base))
