"""Frozen backbones run once: what they make of each film is kept, and heads learn from that.

A pass is what the backbone makes of the films of one epoch, drawn and augmented as `stage` draws and augments them, so
that a head which learns from passes sees what it would see through the backbone. Without augmentation one pass serves
all epochs, and with mirroring alone two do, of the films and of their mirror images.

    CACHE/features/KEY.npy    (N, F), or (N, C, h, w) before a block; float32, or bfloat16 as the bits of uint16
    CACHE/features/KEY.json   of what: the network, the films, the epoch

The key has everything that a pass depends on: the backbone's weights, the preparation, the films and their order, the
augmentation and its seed. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.files import cache_folder, whole_file, write_json
from hilum.image.cache import key_of
from hilum.model.classifier import Classifier, set_unfrozen
from hilum.model.frozen import Frozen
from hilum.model.inference import BATCH
from hilum.progress import Progress
from hilum.recipe.schema import Augment, Recipe, Stage
from hilum.training.augment import augment, to_mirror
from hilum.training.prepared import Batch, Films
from hilum.training.stage import StageJob, shrunk

# Raised when augmentation or drawing change what a pass of the same settings holds.
FEATURES_VERSION = 1


@dataclass(frozen=True)
class Features:
    """What a frozen backbone makes of films, in place of the films.

    passes: one for each epoch, in the order of its steps; or one for all epochs, in the order of the films.
    starts: where each step of an epoch begins in its pass; empty with one pass for all.
    """

    y: NDArray[np.int64]
    sources: NDArray[np.object_]
    passes: tuple[NDArray[Any], ...]
    starts: tuple[NDArray[np.int64], ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def read(self, batch: Batch) -> Tensor:
        """The features of a step, float32 or bfloat16."""
        if not self.starts:
            return _tensor(self.passes[0][batch.films])
        start = int(self.starts[batch.epoch][batch.step])
        return _tensor(self.passes[batch.epoch][start : start + len(batch.films)])


@dataclass(frozen=True)
class Mirrored:
    """Features of films as they are and of their mirror images: all that a job sees whose films are only mirrored."""

    plain: Features
    mirrored: Features
    job: StageJob

    @property
    def y(self) -> NDArray[np.int64]:
        return self.plain.y

    @property
    def sources(self) -> NDArray[np.object_]:
        return self.plain.sources

    def __len__(self) -> int:
        return len(self.plain)

    def read(self, batch: Batch) -> Tensor:
        """The features of a step, float32 or bfloat16: of the mirror image where training draws it."""
        plain, mirrored = self.plain.read(batch), self.mirrored.read(batch)
        flip = to_mirror(len(plain), self.job.generator(batch.epoch, batch.step))
        return torch.where(flip.reshape(-1, *[1] * (plain.ndim - 1)), mirrored, plain)


def has_frozen_backbone(recipe: Recipe, *stages: Stage) -> bool:
    """Whether these stages, or all of the recipe, can learn from features: no backbone learns, no two films are mixed.

    >>> has_frozen_backbone(Recipe())
    False
    """
    return all(stage.unfreeze in ("none", 0) for stage in stages or recipe.stage) and not recipe.augment.mixup


def head_alone(classifier: Classifier) -> Classifier:
    """The classifier's own block and head as a network that takes features; what they learn, the classifier learns."""
    nothing = (nn.Identity(), nn.Identity(), nn.Identity())
    pooled = classifier.architecture.model_copy(update={"pooling": "avg"})
    return Classifier(*nothing, classifier.block, classifier.head, pooled, classifier.origin)


def featured(
    classifier: Classifier,
    job: StageJob,
    train: Films,
    validation: Films,
    shas: Sequence[str],
    progress: Progress,
    *,
    keep: bool = True,
) -> StageJob:
    """The job with features in place of its films, computed now or found in the cache.

    train, validation: the job's films. shas: of the files of both, train first, which make the films of the key. keep:
    without it the features of augmented films are computed at each step and not kept, for a stage that is trained once;
    those of films that are only mirrored are kept all the same.
    """
    set_unfrozen(classifier, "none")
    augmented = job.augment != Augment()
    only_mirrored = job.augment == Augment(flip_horizontal=True, fill=job.augment.fill)
    passes = 2 if only_mirrored else job.stage.epochs if augmented else 1
    frozen = Frozen(classifier, job.precision, passes * len(train) + len(validation), progress.say)
    of_network = {
        "version": FEATURES_VERSION,
        "backbone": classifier.architecture.backbone,
        "weights": _digest_of_network(classifier),
        "prepare": key_of(train.cache.how),
        "side_px": job.stage.side_px or classifier.architecture.side_px,
        "precision": job.precision,
        "device": job.accelerator,
        "engine": frozen.engine,
    }
    make = _Maker(frozen, job, of_network, progress)
    of_train, of_validation = _digest(shas[: len(train)]), _digest(shas[len(train) :])
    validated = (make.plain("validation", validation, of_validation),)
    learned: Features | Mirrored | Passing
    if not augmented or only_mirrored:
        learned = Features(train.y, train.sources, (make.plain("train", train, of_train),))
        if only_mirrored:
            images = make.plain("mirrored train", train, of_train, mirror=True)
            learned = Mirrored(learned, replace(learned, passes=(images,)), job)
    elif keep:
        epochs = range(job.stage.epochs)
        made = tuple(make.augmented(epoch, train, of_train) for epoch in epochs)
        learned = Features(train.y, train.sources, made, tuple(_starts(job.batches(epoch)) for epoch in epochs))
    else:
        learned = Passing(train, job, frozen)
    return replace(
        job,
        train=learned,
        validation=Features(validation.y, validation.sources, validated),
        augment=Augment(),
    )


@dataclass(frozen=True)
class Passing:
    """Films that pass through a frozen backbone whenever they are read, drawn and changed as in the job's training.

    mirror: or each film's mirror image, whatever the job draws.
    """

    films: Films
    job: StageJob
    frozen: Frozen
    mirror: bool = False

    @property
    def y(self) -> NDArray[np.int64]:
        return self.films.y

    @property
    def sources(self) -> NDArray[np.object_]:
        return self.films.sources

    def __len__(self) -> int:
        return len(self.films)

    def read(self, batch: Batch) -> Tensor:
        """The features of a step, float32 or bfloat16."""
        films = shrunk(self.films.read(batch).to(self.frozen.device), self.job.stage.side_px)
        if self.mirror:
            return self.frozen(films.flip(3))
        return self.frozen(augment(films, self.job.augment, self.job.generator(batch.epoch, batch.step)))


@dataclass(frozen=True)
class _Maker:
    """Makes passes of one network, or finds them."""

    frozen: Frozen
    job: StageJob
    of_network: dict[str, Any]
    progress: Progress

    def plain(self, part: str, films: Films, of_films: str, *, mirror: bool = False) -> NDArray[Any]:
        """The films, or their mirror images, in their order."""
        numbers = np.arange(len(films))
        batches = [numbers[start : start + BATCH] for start in range(0, len(films), BATCH)]
        passing = Passing(films, replace(self.job, augment=Augment()), self.frozen, mirror)
        about = {**self.of_network, "films": of_films} | ({"mirrored": True} if mirror else {})
        return self._pass(about, f"features of the {part} part", passing, batches, 0)

    def augmented(self, epoch: int, films: Films, of_films: str) -> NDArray[Any]:
        """The films of an epoch, drawn and changed as in training."""
        job, batches = self.job, self.job.batches(epoch)
        about = {
            **self.of_network,
            "films": of_films,
            "order": _digest(str(batch.tolist()) for batch in batches),
            "augment": job.augment.model_dump(),
            "seed": [job.seed, job.number, epoch],
        }
        what = f"features of epoch {epoch + 1} of {job.stage.epochs}"
        return self._pass(about, what, Passing(films, job, self.frozen), batches, epoch)

    def _pass(
        self, about: dict[str, Any], what: str, films: Passing, batches: list[NDArray[np.int64]], epoch: int
    ) -> NDArray[Any]:
        path = cache_folder() / "features" / f"{_digest([json.dumps(about, sort_keys=True)])[:24]}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # another process of the same search may be at it
            found = _kept(path)
            if found is not None:
                return found
            with whole_file(path) as part, self.progress.task(what, sum(map(len, batches))) as advance:
                _write(part, films, batches, epoch, advance)
            write_json(path.with_suffix(".json"), about)
        kept = _kept(path)
        assert kept is not None
        return kept


def _write(
    path: Path, films: Passing, batches: list[NDArray[np.int64]], epoch: int, advance: Callable[[int], None]
) -> None:
    """The features of a pass, a batch at a time, so that memory does not grow with the films."""
    rows: NDArray[Any] | None = None
    done = 0
    for step, batch in enumerate(batches):
        made = films.read(Batch(epoch, step, batch))
        some = (made.view(torch.uint16) if made.dtype == torch.bfloat16 else made).numpy()
        if rows is None:
            shape = (sum(map(len, batches)), *some.shape[1:])
            rows = np.lib.format.open_memmap(path, mode="w+", dtype=some.dtype, shape=shape)
        rows[done : done + len(batch)] = some
        done += len(batch)
        advance(len(batch))


def _kept(path: Path) -> NDArray[Any] | None:
    """The pass of a file, mapped; None where there is none, or a broken one."""
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found


def _tensor(rows: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(np.array(rows))
    return tensor.view(torch.bfloat16) if rows.dtype == np.uint16 else tensor


def _starts(batches: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(batch) for batch in batches])[:-1]]).astype(np.int64)


def _digest_of_network(classifier: Classifier) -> str:
    """SHA-256 of every tensor that stands before the head, with its name, shape and constants."""
    digest = hashlib.sha256()
    for module in (classifier.normalise, classifier.grey, classifier.backbone):
        for name, tensor in _tensors(module):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(classifier.architecture.pooling.encode())
    return digest.hexdigest()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()  # those that are not saved, too, as the mean and spread of GreyInput


def _digest(texts: Sequence[str] | Iterator[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()
