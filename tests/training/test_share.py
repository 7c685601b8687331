"""Batches that several processes divide: together they compute what one computes of the whole batch."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from hilum.training.share import ALONE, Share


@pytest.mark.parametrize(("count", "size"), list(itertools.product((4, 5, 7, 32, 33), (1, 2))))
def test_the_shares_of_a_batch_are_the_batch_in_its_order(count: int, size: int) -> None:
    parts = [range(count)[Share(rank, size).films(count)[0]] for rank in range(size)]
    assert [film for part in parts for film in part] == list(range(count))
    assert min(map(len, parts)) >= 2


@pytest.mark.parametrize(("count", "size"), [(5, 2), (7, 3), (8, 4), (3, 2), (2, 4)])
def test_the_mean_of_the_weighed_gradients_is_that_of_the_whole_batch(count: int, size: int) -> None:
    draw = torch.Generator().manual_seed(1)
    films = torch.rand(count, 6, generator=draw, dtype=torch.float64)
    targets = F.one_hot(torch.randint(3, (count,), generator=draw), 3).double()
    of_classes = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)

    def gradient(share: Share) -> torch.Tensor:
        weights = torch.ones(6, 3, dtype=torch.float64, requires_grad=True)
        mine, weight = share.films(count)
        loss = weight * F.cross_entropy(films[mine] @ weights, targets[mine], weight=of_classes, label_smoothing=0.1)
        return torch.autograd.grad(loss, weights)[0]

    together = torch.stack([gradient(Share(rank, size)) for rank in range(size)]).mean(dim=0)
    torch.testing.assert_close(together, gradient(ALONE), rtol=0, atol=1e-15)


def test_each_step_of_validation_has_one_process() -> None:
    assert [[share.has(step) for share in (Share(0, 2), Share(1, 2))] for step in range(3)] == [
        [True, False],
        [False, True],
        [True, False],
    ]
