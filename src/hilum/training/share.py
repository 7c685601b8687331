"""One network trained by several processes: which films of a batch each of them computes, and how they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed
from lightning.pytorch.callbacks import Callback
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The share that this process has in a training: `rank` of `size` processes, which torch.distributed connects.

    Each takes its films of every batch, and the gradients that each computes are averaged. strategy, plugins,
    callbacks: what Lightning's Trainer is given for that, as `hilum.scale.parallel` makes it.
    """

    rank: int = 0
    size: int = 1
    strategy: Any = "auto"
    plugins: Sequence[Any] = ()
    callbacks: Sequence[Callback] = ()

    def films(self, count: int) -> tuple[slice, float]:
        """The films of this process in a batch of `count`, and what their mean weighs in the mean of all processes.

        With these weights the processes' mean is that of the batch, however it is divided. A batch that leaves some
        process less than two films, on which no batch normalisation can train, is computed whole by each.

        >>> [Share(rank, 2).films(5) for rank in range(2)]
        [(slice(0, 2, None), 0.8), (slice(2, 5, None), 1.2)]
        >>> Share(1, 2).films(3)
        (slice(0, 3, None), 1.0)
        """
        if count < 2 * self.size:
            return slice(0, count), 1.0
        start, stop = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(start, stop), (stop - start) * self.size / count

    def has(self, step: int) -> bool:
        """Whether this process judges the films of this step of validation."""
        return step % self.size == self.rank

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of the tensor over the processes, the same on each."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of the tensor over the processes; what is the same on each stays so to the last bit."""
        return (self.sum(tensor.double()) / self.size).to(tensor.dtype) if self.size > 1 else tensor


ALONE = Share()
