"""What Lightning's loop reads: whole batches, in an order that depends on nothing but where in the training we are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hilum.model.inference import BATCH
from hilum.training.prepared import Batch, Examples
from hilum.training.share import Share

if TYPE_CHECKING:
    from hilum.training.stage import StageJob


def of_training(job: StageJob, epoch: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """The films or features of each step and their class numbers, from this epoch on."""
    return DataLoader(_Batches(job.train), sampler=_EpochOrder(job, epoch), batch_size=None)


def of_validation(job: StageJob, share: Share) -> DataLoader[tuple[Tensor, Tensor]]:
    """The same of the validation part, `BATCH` a step in their order; none in the steps of other processes."""
    return DataLoader(_Batches(job.validation), sampler=_InOrder(len(job.validation), share), batch_size=None)


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """Films or features of whole batches: one gather from the cache."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.examples.read(batch), torch.from_numpy(self.examples.y[batch.films])


class _EpochOrder(Sampler[Batch]):
    """The batches of each epoch; Lightning calls `set_epoch`, but when it resumes it fetches a batch before that."""

    def __init__(self, job: StageJob, epoch: int) -> None:
        self.job, self.epoch, self.length = job, epoch, job.steps_per_epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        for step, films in enumerate(self.job.batches(self.epoch)):
            yield Batch(self.epoch, step, films)


class _InOrder(Sampler[Batch]):
    def __init__(self, count: int, share: Share) -> None:
        self.count, self.share = count, share

    def __len__(self) -> int:
        return -(-self.count // BATCH)

    def __iter__(self) -> Iterator[Batch]:
        for step, start in enumerate(range(0, self.count, BATCH)):
            stop = min(start + BATCH, self.count) if self.share.has(step) else start
            yield Batch(0, step, np.arange(start, stop))
