"""Training of a lung network: from films on which people drew the lungs to a folder with weights and figures."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hilum.data.collect import with_facts
from hilum.data.manifest import write_manifest
from hilum.data.split import split
from hilum.errors import DataError, FilmError, RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.evaluation.segmentation import figures_of_parts, judge_films
from hilum.files import whole_file, write_json, write_text
from hilum.image import lungs
from hilum.image.cache import PreparedCache
from hilum.image.decode import decode
from hilum.image.facts import reason
from hilum.image.prepare import prepare
from hilum.image.unet import MULTIPLE
from hilum.image.workers import map_films
from hilum.model import machine, unet
from hilum.progress import SILENT, Progress
from hilum.recipe.load import load_recipe, to_toml
from hilum.recipe.schema import Augment, Prepare, Recipe, Stage
from hilum.training import balance as balancing
from hilum.training.augment import augment
from hilum.training.environment import describe_environment, now, sha256_of
from hilum.training.schedule import best_epoch, learning_rate
from hilum.training.stage import make_optimiser

# What was found best on the validation part of lung-masks; docs/segment.md has the comparisons.
DEFAULTS: Mapping[str, Any] = {
    "prepare": {"side_px": 256, "equalise": "histogram"},
    "augment": {
        "rotation_deg": 10.0,
        "shift": 0.08,
        "zoom": 0.18,
        "flip_horizontal": True,
        "brightness": 0.3,
        "contrast": 0.5,
        "channel_shift": 40.0,
        "blur": 0.2,
        "erase": 0.2,
    },
    "balance": {"how": "over"},
    "stage": [{"epochs": 28, "batch_size": 16, "learning_rate": 4e-3, "weight_decay": 0.02, "ema": 0.995}],
}
# Sections of a recipe that say something here; the others must stay at their defaults.
_READ = ("data", "split", "prepare", "augment", "balance", "stage", "training", "evaluate")
# The share of upright frontal films whose masks may be doubted wrongly.
_DOUBTED = 0.02
_GEOMETRY = ("rotation_deg", "shift", "zoom", "shear", "flip_horizontal", "flip_vertical", "resized_crop")


def recipe_of(data: Path, settings: list[str]) -> Recipe:
    """The recipe of a lung network: `DEFAULTS` with section.key=value laid over them.

    Refused with RequestError: what `load_recipe` refuses, a section that means nothing here, a side that the network
    cannot take.
    """
    recipe = load_recipe(settings=settings, base={**DEFAULTS, "data": {"source": [str(data)]}})
    default = Recipe()
    for section in Recipe.model_fields:
        if section not in _READ and getattr(recipe, section) != getattr(default, section):
            raise RequestError(f"[{section}] has no meaning for a lung network", where="hilum segment train")
    if recipe.augment.mixup or recipe.prepare.lungs != "none":
        raise RequestError("mixup and prepare.lungs have no meaning for a lung network", where="hilum segment train")
    if wrong := [side for side in _sides(recipe) if side % MULTIPLE]:
        raise RequestError(f"a side of {wrong[0]} px is no multiple of {MULTIPLE}", where="prepare.side_px")
    return recipe


def _sides(recipe: Recipe) -> list[int]:
    return [recipe.prepare.side_px, *(stage.side_px for stage in recipe.stage if stage.side_px)]


def start(films: pd.DataFrame, recipe: Recipe, out: Path, *, progress: Progress = SILENT) -> RunFolder:
    """Split the marked films (`data.marked.read_marked`) and write what the run will be; `go_on` then does it.

    Films that come with `part` keep it. Refused with RequestError: a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(
            "this is a file, or a folder that is not empty",
            where=str(out),
            next_step="Go on with a run by adding --resume, or choose another folder with -o.",
        )
    kind = machine.accelerator(recipe.training.device)
    films, unreadable = with_facts(films, workers=recipe.training.workers, progress=progress)
    for error in unreadable["error"]:
        progress.say(f"left out, cannot be read: {error}")
    parted = split(films, recipe.split)
    parted_films, notes = _with_both_lungs(parted.manifest, recipe.training.workers, progress)
    about = {
        **describe_environment(),
        "device": kind,
        "precision": machine.precision(recipe.training.precision, kind),
        "seed": recipe.training.seed,
        "scheme": parted.scheme,
        "notes": [*parted.notes, *notes],
    }
    write_manifest(parted_films, out / "manifest.parquet")
    write_json(out / "environment.json", about)
    write_text(out / "recipe.toml", to_toml(recipe))
    return RunFolder(out)


def _with_both_lungs(
    films: pd.DataFrame, workers: int | None, progress: Progress
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The films less those whose mask shows one lung alone, which would teach and judge wrongly; a note on each."""
    alone = np.zeros(len(films), bool)
    with progress.task("looking at the drawn masks", len(films)) as advance:
        for index, found in _each_mask(_one_lung_alone, films["mask"], workers):
            alone[index] = found
            advance(1)
    notes = tuple(f"left out, one lung alone is drawn: {name}" for name in films.loc[alone, "image_id"])
    for note in notes:
        progress.say(note)
    return films[~alone].reset_index(drop=True), notes


def _one_lung_alone(path: Path) -> bool:
    return lungs.one_lung_alone(decode(path).pixels > 127)


def _each_mask(job: Callable[[Path], Any], masks: pd.Series, workers: int | None) -> Iterator[tuple[int, Any]]:
    """What `job` makes of each mask, with its row; refused with DataError: a mask that cannot be read."""
    paths = [Path(path) for path in masks]
    for index, made in map_films(job, paths, workers=workers):
        if isinstance(made, FilmError):
            raise DataError(f"a mask cannot be read: {reason(made)}", where=str(paths[index]))
        yield index, made


def go_on(run: RunFolder, *, progress: Progress = SILENT) -> RunFolder:
    """Do what a started run still lacks: train after its last whole epoch, judge validation and test films.

    A run that was killed ends with the weights that it would have had.
    """
    recipe, weights = run.recipe(), run.path / "weights.safetensors"
    machine.keep_memory()
    if not weights.is_file():
        _train(run, recipe, weights, progress)
    if not (run.path / "metrics.json").is_file():
        films = run.manifest()
        judged = judge_films(films[films["part"] != "train"], lungs.LungNetwork(weights), progress=progress)
        with whole_file(run.path / "masks.csv") as part:
            judged.to_csv(part, index=False)
        write_json(run.path / "metrics.json", figures_of_parts(judged, recipe.evaluate, recipe.training.seed))
        facts = {"weights_sha256": sha256_of(weights), "finished": now()}
        write_json(run.path / "environment.json", {**run.environment(), **facts})
        (run.path / "checkpoint.pt").unlink(missing_ok=True)
    return run


@dataclass(frozen=True)
class _Marked:
    """Films of a run: `cache` and `rows` of their pixels, `masks` uint8 (N, S, S), `y` (N,) class numbers."""

    cache: PreparedCache
    rows: NDArray[np.int64]
    masks: NDArray[np.uint8]
    y: NDArray[np.int64]
    classes: tuple[str, ...]

    def pair(self, films: NDArray[np.int64], side_px: int) -> Tensor:
        """Films and masks, float (n, 2, side, side) in [0, 1]."""
        stacked = np.stack([self.cache.read(self.rows[films]), self.masks[films]], axis=1)
        pair = torch.from_numpy(stacked).float() / 255.0
        return pair if pair.shape[-1] == side_px else F.interpolate(pair, size=(side_px, side_px), mode="area")


def _marked(run: RunFolder, recipe: Recipe, progress: Progress) -> tuple[_Marked, NDArray[np.object_]]:
    """The run's films and the part of each."""
    films = run.manifest()
    films = films[films["part"] != "test"]
    cache = PreparedCache(recipe.prepare)
    pairs = [(Path(path), str(sha)) for path, sha in zip(films["path"], films["sha256"], strict=True)]
    ensured = cache.ensure(pairs, workers=recipe.training.workers, progress=progress)
    if ensured.errors:
        index, error = next(iter(ensured.errors.items()))
        raise DataError(f"a film of the run cannot be read any more: {error}", where=str(pairs[index][0]))
    side = recipe.prepare.side_px
    masks = np.zeros((len(films), side, side), np.uint8)
    job = partial(_prepared_mask, how=recipe.prepare)
    with progress.task("reading masks", len(films)) as advance:
        for index, mask in _each_mask(job, films["mask"], recipe.training.workers):
            masks[index] = mask
            advance(1)
    classes = tuple(sorted(films["class"].unique()))
    y = np.array([classes.index(name) for name in films["class"]], np.int64)
    return _Marked(cache, ensured.rows, masks, y, classes), films["part"].to_numpy(object)


def _prepared_mask(path: Path, how: Prepare) -> NDArray[np.uint8]:
    """A mask as its film is prepared: the same crop and square, without the grey values' equalisation."""
    return prepare(decode(path).pixels, how.model_copy(update={"equalise": "none"}))


def _train(run: RunFolder, recipe: Recipe, weights: Path, progress: Progress) -> None:
    about = run.environment()
    films, parts = _marked(run, recipe, progress)
    network = unet.build(recipe.training.seed).to(memory_format=torch.channels_last).to(about["device"])
    state = _State(network, recipe, [], run.path / "checkpoint.pt")
    state.restore()
    numbers = {part: np.flatnonzero(parts == part) for part in ("train", "validation")}
    for number, stage in enumerate(recipe.stage):
        _train_stage(state, number, stage, films, numbers, about, progress)
    with whole_file(run.path / "history.csv") as part:
        pd.DataFrame(state.history).to_csv(part, index=False)
    facts = {
        "films": {name: int((films.y[numbers["train"]] == k).sum()) for k, name in enumerate(films.classes)},
        "seconds": round(sum(row["seconds"] for row in state.history), 1),
        "seed": recipe.training.seed,
    }
    network.load_state_dict(state.best)
    shapes = lungs.ShapeModel.fit(mask > 127 for mask in films.masks[numbers["train"]] if mask.max() > 127)
    most = _most_strange(network, shapes, films, numbers["validation"], about["device"])
    lungs.save(weights, unet.folded(network), shapes, most_strange=most, preparation=recipe.prepare, facts=facts)
    write_json(run.path / "environment.json", {**about, "training_seconds": facts["seconds"]})


def _most_strange(
    network: unet.LungUNet, shapes: lungs.ShapeModel, films: _Marked, numbers: NDArray[np.int64], device: str
) -> float:
    """The strangeness that only `_DOUBTED` of the validation films' masks exceed, as the network finds them."""
    network.eval()
    found = []
    with torch.inference_mode():
        for number in numbers:
            pair = films.pair(np.array([number]), films.masks.shape[-1]).to(device)
            z = network(pair[:, :1])[0, 0].float().cpu().numpy()
            mask = lungs.mask_of(z, z.shape)
            found += [shapes.strangeness(mask)] if mask.any() else []
    return float(np.quantile(found, 1 - _DOUBTED)) if found else 0.0


class _State:
    """The training between two epochs, in memory and in a file: network, its average, optimiser, best weights."""

    def __init__(self, network: unet.LungUNet, recipe: Recipe, history: list[dict[str, Any]], file: Path) -> None:
        self.network, self.history, self.file = network, history, file
        self.averaged: AveragedModel | None = None
        self.best: dict[str, Tensor] = {}
        self.recipe = recipe
        self.optimiser: torch.optim.Optimizer = torch.optim.SGD(network.parameters())
        self.begin_stage(recipe.stage[0])

    def begin_stage(self, stage: Stage) -> None:
        self.optimiser = make_optimiser(self.network, stage)
        ema = get_ema_multi_avg_fn(stage.ema)
        self.averaged = AveragedModel(self.network, multi_avg_fn=ema, use_buffers=True) if stage.ema else None

    @property
    def judged(self) -> torch.nn.Module:
        return self.averaged.module if self.averaged is not None else self.network

    def restore(self) -> None:
        """Take up what the file holds, if there is one."""
        if not self.file.is_file():
            return
        held = torch.load(self.file, map_location="cpu", weights_only=True)
        self.history, self.best = held["history"], held["best"]
        self.begin_stage(self.recipe.stage[self.history[-1]["stage"] - 1])
        self.network.load_state_dict(held["network"])
        self.optimiser.load_state_dict(held["optimiser"])
        if self.averaged is not None:
            self.averaged.load_state_dict(held["averaged"])

    def end_epoch(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        of_stage = [row["validation_dice"] for row in self.history]
        if best_epoch(of_stage, higher=True) == len(of_stage) - 1:
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.judged.state_dict().items()}
        buffer = io.BytesIO()
        held = {
            "history": self.history,
            "best": self.best,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
        }
        torch.save(held, buffer)
        with whole_file(self.file) as part:
            part.write_bytes(buffer.getbuffer())


def _train_stage(
    state: _State,
    number: int,
    stage: Stage,
    films: _Marked,
    numbers: dict[str, NDArray[np.int64]],
    about: dict[str, Any],
    progress: Progress,
) -> None:
    done = sum(row["stage"] == number + 1 for row in state.history)
    if done == 0 and number > 0:
        state.begin_stage(stage)
    recipe, train = state.recipe, numbers["train"]
    sources = np.array([films.classes[k] for k in films.y[train]], object)
    batches = partial(balancing.epoch_batches, films.y[train], sources, films.classes, recipe.balance, stage.batch_size)
    steps = len(batches(np.random.default_rng(0)))
    with progress.task(f"stage {number + 1}: {stage.epochs} epochs", (stage.epochs - done) * steps) as advance:
        for epoch in range(done, stage.epochs):
            began, losses, rate = time.monotonic(), [], 0.0
            state.network.train()
            for step, batch in enumerate(batches(np.random.default_rng([recipe.training.seed, number, epoch]))):
                rate = learning_rate(stage, epoch * steps + step, steps)
                seed = np.random.SeedSequence([recipe.training.seed, number, epoch, step]).generate_state(1, np.uint64)
                generator = torch.Generator().manual_seed(int(seed[0] >> np.uint64(1)))
                pair = _augmented(films.pair(train[batch], _side(stage, recipe)), recipe.augment, generator)
                losses.append(_step(state, pair.to(about["device"]), rate, about["precision"] == "bf16-mixed"))
                advance(1)
            figures = _validate(state.judged, films, numbers["validation"], _side(stage, recipe), about["device"])
            row = {"stage": number + 1, "epoch": epoch + 1, "train_loss": float(np.mean(losses)), **figures}
            state.end_epoch({**row, "learning_rate": rate, "seconds": round(time.monotonic() - began, 3)})
            progress.say(
                f"epoch {epoch + 1}: loss {row['train_loss']:.4f}, validation Dice {row['validation_dice']:.4f}"
            )


def _side(stage: Stage, recipe: Recipe) -> int:
    return stage.side_px or recipe.prepare.side_px


def _augmented(pair: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """Film and mask moved alike, then the film's grey values changed; (n, 2, S, S)."""
    grey = how.model_copy(update={name: type(getattr(how, name))(0) for name in _GEOMETRY})
    geometry = Augment(**{name: getattr(how, name) for name in _GEOMETRY}, fill=how.fill)
    moved = augment(pair, geometry, generator)
    return torch.cat([augment(moved[:, :1], grey, generator), moved[:, 1:]], dim=1)


def _step(state: _State, pair: Tensor, rate: float, mixed: bool) -> float:
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    films = pair[:, :1].contiguous(memory_format=torch.channels_last)
    with torch.autocast(pair.device.type, torch.bfloat16, enabled=mixed):
        z = state.network(films)
    loss = overlap_loss(z.float(), F.avg_pool2d(pair[:, 1:], 2))
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()
    if state.averaged is not None:
        state.averaged.update_parameters(state.network)
    return float(loss.detach())


def overlap_loss(z: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy plus 1 - soft Dice of each film, of logits and masks in [0, 1], both (B, 1, H, W).

    Milletari et al. 2016, V-Net, arXiv:1606.04797, for the second, which counts small lungs as much as large ones.
    """
    p = torch.sigmoid(z)
    overlap, total = (p * masks).sum((1, 2, 3)), (p * p + masks * masks).sum((1, 2, 3))
    return F.binary_cross_entropy_with_logits(z, masks) + (1 - (2 * overlap + 1) / (total + 1)).mean()


def _validate(
    network: torch.nn.Module, films: _Marked, numbers: NDArray[np.int64], side_px: int, device: str
) -> dict[str, float]:
    """Mean Dice by class at the network's own resolution, and the mean of the classes."""
    network.eval()
    values = []
    with torch.inference_mode():
        for start in range(0, len(numbers), 32):
            pair = films.pair(numbers[start : start + 32], side_px).to(device)
            found = network(pair[:, :1].contiguous(memory_format=torch.channels_last)) > 0
            truth = F.avg_pool2d(pair[:, 1:], 2) > 0.5
            both, total = (found & truth).sum((1, 2, 3)), found.sum((1, 2, 3)) + truth.sum((1, 2, 3))
            values.append((2 * both / total.clamp(min=1)).cpu().numpy())
    of_film, y = np.concatenate(values), films.y[numbers]
    dice = {
        f"validation_dice/{name}": float(of_film[y == k].mean())
        for k, name in enumerate(films.classes)
        if (y == k).any()
    }
    return {"validation_dice": float(np.mean(list(dice.values()))), **dice}
