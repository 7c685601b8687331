"""What is kept of a training by several workers, and when they are given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilum.errors import FilmError, HilumError
from hilum.scale import keeper
from hilum.scale.connect import Node
from hilum.scale.keeper import Keeper
from hilum.scale.units import ATTEMPTS

ALIVE = {"1": "one", "2": "two"}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """The keeper of a cluster whose nodes are those of ALIVE."""
    monkeypatch.setattr(keeper, "nodes", lambda: [Node(node, name, 1, 0) for node, name in ALIVE.items()])
    return Keeper(tmp_path / "stage-1", "stage 1")


def test_workers_that_begin_again_get_the_last_checkpoint_that_was_brought(kept: Keeper) -> None:
    assert kept.begin(ALIVE) == b""
    assert kept.keep("last.ckpt", b"epoch 1", 1) is None
    assert kept.begin(ALIVE) == b"epoch 1"
    assert kept.heard() == (
        [
            "stage 1: on one, two",
            "stage 1: a worker was killed or crashed; all go on after epoch 1",
            "stage 1: on one, two",
        ],
        None,
    )
    assert kept.names() == ["one", "two"]


def test_workers_that_die_again_and_again_in_one_epoch_are_given_up_with_what_they_said(kept: Keeper) -> None:
    kept.begin(ALIVE)
    kept.keep("last.ckpt", b"epoch 1", 1)
    for _ in range(ATTEMPTS):
        assert kept.begin(ALIVE) == b"epoch 1"
        kept.wrong("worker 0: RuntimeError: out of paper")
    assert kept.begin(ALIVE) is None
    refused = kept.heard()[1]
    assert isinstance(refused, HilumError)
    assert str(refused).startswith("stage 1, after epoch 1: its workers died 3 times: worker 0: RuntimeError: out of")


def test_a_lost_node_is_not_held_against_the_workers(kept: Keeper) -> None:
    for _ in range(2 * ATTEMPTS):
        assert kept.begin({"3": "three", **ALIVE}) == b""
    assert "stage 1: the node three was lost; all go on from where the stage was begun" in kept.heard()[0]


def test_what_is_refused_ends_the_workers_at_their_next_epoch_or_beginning(kept: Keeper) -> None:
    kept.begin(ALIVE)
    broken = FilmError("this film is broken", where="a.png")
    kept.refuse(broken)
    kept.refuse(FilmError("what follows from it"))
    assert kept.keep("last.ckpt", b"epoch 1", 1) is broken
    assert kept.begin(ALIVE) is None
    assert kept.heard()[1] is broken


def test_a_checkpoint_that_cannot_be_written_is_refused(kept: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilum.scale.units.here", lambda: "one")
    kept.folder.write_bytes(b"a file where the folder belongs")
    kept.begin(ALIVE)
    refused = kept.keep("last.ckpt", b"epoch 1", 1)
    assert refused is not None and "last.ckpt on the node one" in str(refused)
