"""What a path to predict with stands for, and how several answers become one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.errors import DataError, RequestError, WeightsError
from hilum.predict.members import Combination, members_of, read_record, refuse_other_classes


def test_the_average_is_the_mean_of_the_probabilities_film_by_film() -> None:
    p = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.4, 0.6]]])
    np.testing.assert_allclose(Combination()(p), [[0.7, 0.3], [0.3, 0.7]])


def test_the_average_of_one_is_itself_to_the_last_digit() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), (1, 5))
    np.testing.assert_array_equal(Combination()(p), p[0])


def test_a_stack_that_listens_to_one_run_alone_says_what_it_says() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), (2, 4))
    second_alone = np.hstack((np.zeros((3, 3)), np.eye(3)))
    stack = Combination(how="stack", coefficients=second_alone.tolist(), intercept=(0.0, 0.0, 0.0))
    np.testing.assert_allclose(stack(p), p[1])


def test_a_stack_bears_probabilities_that_were_rounded_to_nothing() -> None:
    p = np.array([[[1.0, 0.0]], [[1.0, 0.0]]])
    stack = Combination(how="stack", coefficients=((1.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 1.0)), intercept=(0.0, 0.0))
    assert np.isfinite(stack(p)).all()


def test_a_path_without_a_run_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no trained run here.*hilum train --data SOURCE -o"):
        members_of(tmp_path)
    with pytest.raises(RequestError, match="there is no such run"):
        members_of(tmp_path / "gone")


def made_ensemble(folder: Path, member: Path, sha256: str) -> Path:
    folder.mkdir(exist_ok=True)
    members = [{"run": str(member), "weights_sha256": sha256}]
    facts = {"format": 1, "classes": ["a", "b"], "members": members, "combination": {"how": "average"}}
    (folder / "ensemble.json").write_text(json.dumps(facts))
    return folder


def test_a_member_that_is_gone_or_was_changed_is_named(tmp_path: Path) -> None:
    member = tmp_path / "member"
    with pytest.raises(WeightsError, match=r"member/weights\.safetensors: a member of the ensemble is gone"):
        members_of(made_ensemble(tmp_path / "ensemble", Path("../member"), "0" * 64))
    member.mkdir()
    (member / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"other weights than when the ensemble was made\. Bring \.\./member back"):
        members_of(made_ensemble(tmp_path / "ensemble", Path("../member"), "0" * 64))


def test_a_broken_ensemble_json_is_refused(tmp_path: Path) -> None:
    for text in ("{", '{"format": 2}', "[]"):
        (tmp_path / "ensemble.json").write_text(text)
        with pytest.raises(DataError, match=r"ensemble\.json: this is no ensemble of this hilum.*hilum ensemble RUN"):
            read_record(tmp_path)


def test_other_classes_or_another_order_are_refused() -> None:
    names = [Path("a"), Path("b")]
    refuse_other_classes([["ill", "well"], ("ill", "well")], names)
    with pytest.raises(RequestError, match="b: its classes are well, ill, and those of a ill, well"):
        refuse_other_classes([["ill", "well"], ["well", "ill"]], names)
