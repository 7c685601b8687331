"""Ensembles of runs: their arithmetic, what is refused, and that they are used like a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import hilum
from hilum.data.manifest import write_manifest
from hilum.errors import DataError, HilumError, RequestError, WeightsError
from hilum.evaluation.predictions import probabilities_of
from hilum.evaluation.run_folder import RunFolder
from hilum.predict.ensemble import ensemble, fit_stack
from hilum.predict.members import log_probabilities
from hilum.predict.predictor import Predictor
from predict.other_films import write_films

TORCH = ["predict.engine=torch"]
CLASSES = ["covid-19", "normal", "pneumonia"]


@pytest.fixture(scope="module")
def other_run(phantoms: Path, small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the same split as `small_run`: another backbone, another size, and it looks at mirror images too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("other-cache")))
        patch.setattr("hilum.training.train.write_report", lambda run: None)
        out = tmp_path_factory.mktemp("other") / "other"
        own = [
            "model.backbone=resnet10t",
            "prepare.side_px=48",
            "stage.epochs=2",
            "predict.flip=true",
            "predict.engine=torch",
        ]
        return hilum.train(data=str(phantoms), settings=[*small, *own], out=out).path


@pytest.fixture(scope="module")
def averaged(small_run: Path, other_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hilum.ensemble([small_run, other_run], tmp_path_factory.mktemp("ensembles") / "both").path


def load(path: Path) -> Predictor:
    """With torch, because these networks are converted for longer than they predict."""
    return hilum.load(path, engine="torch")


def some_films(phantoms: Path, count: int) -> list[Path]:
    return sorted(phantoms.parent.glob("films/*/*"))[:count]


def p_of(table: pd.DataFrame) -> np.ndarray:
    return table[[f"p_{name}" for name in CLASSES]].to_numpy(float)


def test_the_folder_holds_what_a_run_holds_and_names_its_members(
    averaged: Path, small_run: Path, other_run: Path
) -> None:
    run = RunFolder(averaged)
    one, other = (RunFolder(path).predictions().set_index("image_id") for path in (small_run, other_run))
    found = run.predictions().set_index("image_id")
    expected = (probabilities_of(one.loc[found.index]) + probabilities_of(other.loc[found.index])) / 2
    np.testing.assert_allclose(probabilities_of(found), expected)
    assert len(found) == len(one) == len(run.manifest())
    assert run.metrics()["test"]["accuracy"]["n"] == (one["part"] == "test").sum()
    assert [member["name"] for member in run.metrics()["_members"]] == ["small", "other"]
    record = json.loads((averaged / "ensemble.json").read_text())
    assert [(averaged / member["run"]).resolve() for member in record["members"]] == [small_run, other_run]
    assert run.environment()["training_seconds"] > RunFolder(small_run).environment()["training_seconds"]


def test_its_report_shows_the_members_and_sends_nobody_to_train_it_again(averaged: Path) -> None:
    page = (averaged / "report.html").read_text()
    assert "mobilenetv3_small_050 + resnet10t" in page
    assert "Members and ensemble, test part" in page
    assert "hilum train --recipe" not in page
    assert "could not be made" not in page


def test_it_predicts_the_mean_of_what_its_members_predict(
    averaged: Path, small_run: Path, other_run: Path, phantoms: Path
) -> None:
    films = some_films(phantoms, 9)
    found = load(averaged).predict(films)
    expected = (p_of(load(small_run).predict(films)) + p_of(load(other_run).predict(films))) / 2
    np.testing.assert_allclose(p_of(found), expected, atol=1e-9)
    assert [how.side_px for how in load(averaged).preparations] == [64, 48]


def test_films_of_the_run_itself_get_the_probabilities_that_its_table_has(averaged: Path) -> None:
    run = RunFolder(averaged)
    rows = run.manifest().head(5)
    found = load(averaged).predict(rows["path"].tolist())
    expected = run.predictions().set_index("image_id").loc[rows["image_id"]]
    np.testing.assert_allclose(p_of(found), p_of(expected), atol=1e-4)


def test_it_is_judged_on_other_films_like_a_run(averaged: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", covid_19=3, normal=4, pneumonia=4)
    found = hilum.evaluate(averaged, [films], TORCH, out=tmp_path / "elsewhere")
    assert found.metrics["test"]["accuracy"]["n"] == len(found.predictions) == 11
    assert (tmp_path / "elsewhere" / "metrics.json").is_file()


def test_what_a_member_learned_from_is_left_out_when_the_ensemble_is_judged(averaged: Path, phantoms: Path) -> None:
    found = hilum.evaluate(averaged, [str(phantoms)], TORCH)
    own = RunFolder(averaged).manifest()
    assert set(found.predictions["image_id"]) <= set(own.loc[own["part"] == "test", "image_id"])


@pytest.mark.usefixtures("no_pages")
def test_an_ensemble_can_be_moved_with_its_members(
    averaged: Path, small_run: Path, other_run: Path, tmp_path: Path
) -> None:
    for run in (small_run, other_run):
        shutil.copytree(run, tmp_path / "a" / run.name)
    made = hilum.ensemble([tmp_path / "a" / "small", tmp_path / "a" / "other"], tmp_path / "a" / "both")
    (tmp_path / "a").rename(tmp_path / "b")
    moved = tmp_path / "b" / made.path.name
    assert len(load(moved).networks) == 2
    (tmp_path / "b" / "other" / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match="a member of the ensemble is gone"):
        load(moved)


@pytest.mark.usefixtures("no_pages")
def test_a_stack_is_fitted_on_validation_films_and_no_others(small_run: Path, other_run: Path, tmp_path: Path) -> None:
    def validated(films: pd.DataFrame) -> None:
        films.loc[films["part"] == "train", "part"] = "validation"

    one, other = (changed_copy(run, tmp_path / run.name, validated) for run in (small_run, other_run))
    first = hilum.ensemble([one, other], tmp_path / "first", how="stack")
    changed = tmp_path / "changed"
    shutil.copytree(one, changed)
    table = RunFolder(one).predictions()
    others = table["part"] != "validation"
    names = [f"p_{name}" for name in CLASSES]
    table.loc[others, names] = table.loc[others, names].to_numpy()[:, ::-1]
    table.drop(columns="predicted").to_csv(changed / "predictions.csv", index=False)
    second = hilum.ensemble([changed, other], tmp_path / "second", how="stack")
    fitted = [json.loads((made.path / "ensemble.json").read_text())["combination"] for made in (first, second)]
    assert fitted[0] == fitted[1]
    assert any("stacked on" in note for note in first.environment()["notes"])


def test_the_stack_is_the_penalised_regression_of_its_definition() -> None:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 3, 90)
    p = rng.dirichlet(np.ones(3), (2, 90)) * 0.5 + np.eye(3)[y] * 0.5
    stack = fit_stack(p, y, CLASSES)
    x = log_probabilities(p)

    def loss(flat: np.ndarray) -> float:
        weights, intercept = flat[:18].reshape(3, 6), flat[18:]
        z = x @ weights.T + intercept
        z -= z.max(1, keepdims=True)
        return float((np.log(np.exp(z).sum(1)) - z[np.arange(90), y]).sum() + (weights**2).sum() / 2)

    best = minimize(loss, np.zeros(21), method="BFGS", options={"gtol": 1e-5}).x
    np.testing.assert_allclose(np.array(stack.coefficients), best[:18].reshape(3, 6), atol=5e-3)


def test_a_stack_of_two_classes_gives_the_probabilities_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 60)
    p = rng.dirichlet(np.ones(2), (2, 60)) * 0.6 + np.eye(2)[y] * 0.4
    expected = LogisticRegression(max_iter=10_000).fit(log_probabilities(p), y).predict_proba(log_probabilities(p))
    np.testing.assert_allclose(fit_stack(p, y, ["ill", "well"])(p), expected)


def test_a_stack_needs_films_of_every_class() -> None:
    p = np.full((2, 30, 2), 0.5)
    with pytest.raises(
        DataError, match=r"no validation film that the runs share is of the class 'well'.*--how average"
    ):
        fit_stack(p, np.zeros(30, int), ["ill", "well"])
    with pytest.raises(DataError, match="have 9 validation films in common, and a stack needs 20"):
        fit_stack(p[:, :9], np.arange(9) % 2, ["ill", "well"])


def changed_copy(run: Path, folder: Path, change: object) -> Path:
    """A copy of a run whose manifest and predictions were changed alike."""
    shutil.copytree(run, folder)
    films = RunFolder(run).manifest()
    change(films)  # type: ignore[operator]
    write_manifest(films, folder / "manifest.parquet")
    table = RunFolder(run).predictions()
    table["part"] = films["part"].to_numpy()
    table["label"] = films["class"].to_numpy()
    table.to_csv(folder / "predictions.csv", index=False)
    return folder


def test_a_run_that_learned_from_anothers_test_films_is_refused(small_run: Path, tmp_path: Path) -> None:
    def swapped(films: pd.DataFrame) -> None:
        films["part"] = films["part"].map({"train": "test", "test": "train", "validation": "validation"})

    other = changed_copy(small_run, tmp_path / "swapped", swapped)
    with pytest.raises(DataError, match=r"learned from \d+ test films.*Combine runs of one split"):
        ensemble([small_run, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_so_is_one_that_learned_from_other_films_of_their_patients(small_run: Path, tmp_path: Path) -> None:
    films = RunFolder(small_run).manifest()
    patient = films.loc[films["part"] == "test", "patient_id"].iloc[0]

    def borrowed(films: pd.DataFrame) -> None:
        train = films.index[films["part"] == "train"]
        films.loc[train[0], ["image_id", "patient_id", "sha256", "phash"]] = ["new/film", patient, "ab" * 32, pd.NA]

    other = tmp_path / "borrowed"
    shutil.copytree(small_run, other)
    borrowed(films)
    write_manifest(films, other / "manifest.parquet")
    table = RunFolder(small_run).predictions()
    table["image_id"] = films["image_id"].to_numpy()
    table.to_csv(other / "predictions.csv", index=False)
    with pytest.raises(DataError, match="borrowed learned from"):
        ensemble([small_run, other], tmp_path / "out")


@pytest.mark.usefixtures("no_pages")
def test_films_that_are_not_in_the_same_part_of_every_run_are_left_out_and_counted(
    small_run: Path, tmp_path: Path
) -> None:
    films = RunFolder(small_run).manifest()
    moved = films.loc[films["part"] == "validation", "image_id"].iloc[0]

    def earlier(films: pd.DataFrame) -> None:
        films.loc[films["image_id"] == moved, "part"] = "train"

    other = changed_copy(small_run, tmp_path / "earlier", earlier)
    made = ensemble([small_run, other], tmp_path / "out")
    assert len(made.manifest()) == len(films) - 1
    assert (
        f"1 of {len(films)} films are not in the same part of every run and were left out"
        in made.environment()["notes"]
    )


def test_a_film_with_two_labels_is_refused(small_run: Path, tmp_path: Path) -> None:
    def relabelled(films: pd.DataFrame) -> None:
        films.loc[0, "class"] = "normal" if films.loc[0, "class"] != "normal" else "pneumonia"

    other = changed_copy(small_run, tmp_path / "relabelled", relabelled)
    with pytest.raises(DataError, match="has another label"):
        ensemble([small_run, other], tmp_path / "out")


def test_requests_that_make_no_ensemble_are_refused(
    small_run: Path, other_run: Path, averaged: Path, tmp_path: Path
) -> None:
    def refused(*runs: Path, out: Path = tmp_path / "out") -> HilumError:
        with pytest.raises(HilumError) as caught:
            ensemble(runs, out)
        return caught.value

    assert "two runs or more" in str(refused(small_run))
    assert "twice" in str(refused(small_run, small_run / ".." / small_run.name))
    assert "Name its members" in str(refused(small_run, averaged))
    assert "Name the run's folder" in str(refused(small_run, other_run / "weights.safetensors"))
    assert "no such run" in str(refused(small_run, tmp_path / "gone"))
    assert "not empty" in str(refused(small_run, other_run, out=averaged))
    other = tmp_path / "other"
    shutil.copytree(other_run, other)
    shutil.copy(small_run / "weights.safetensors", other / "weights.safetensors")
    error = refused(small_run, other)
    assert isinstance(error, WeightsError) and "not of the weights that it has now" in str(error)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def wholes(phantoms: Path, small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two cross-validations of two folds, which differ in the seed of their training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("folds-cache")))
        for module in ("train", "crossval"):
            patch.setattr(f"hilum.training.{module}.write_report", lambda run: None)
        folder = tmp_path_factory.mktemp("folds")
        return [
            hilum.crossval(
                data=str(phantoms),
                settings=[*small, "stage.epochs=1", "predict.engine=torch", f"training.seed={seed}"],
                folds=2,
                out=folder / f"seed-{seed}",
            ).path
            for seed in (0, 1)
        ]


def test_cross_validations_of_the_same_folds_are_combined_fold_by_fold(
    wholes: list[Path], phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = hilum.predict.ensemble.write_report
    monkeypatch.setattr(hilum.predict.ensemble, "write_report", lambda run: "fold" in run.name or write(run))
    both = ensemble(wholes, tmp_path / "both")
    one, other = (RunFolder(whole).predictions().set_index("image_id") for whole in wholes)
    found = both.predictions().set_index("image_id")
    expected = (p_of(one.loc[found.index]) + p_of(other.loc[found.index])) / 2
    np.testing.assert_allclose(p_of(found), expected)
    assert len(found) == len(one)
    metrics = both.metrics()
    assert [member["name"] for member in metrics["_members"]] == ["seed-0", "seed-1"]
    assert metrics["_members"][1]["test"] == RunFolder(wholes[1]).metrics()["test"]
    assert len(metrics["_folds"]["folds"]) == 2
    page = both.report_path.read_text()
    assert "run <b>both</b>" in page and str(tmp_path / "both") in page
    assert "Fold by fold" in page and "The average of seed-0, seed-1" in page and "crossval --recipe" not in page
    films = some_films(phantoms, 3)
    apart = [p_of(load(whole / f"fold-{fold}").predict(films)) for whole in wholes for fold in (0, 1)]
    np.testing.assert_allclose(p_of(load(both.path).predict(films)), np.mean(apart, axis=0), atol=1e-9)
    both.report_path.unlink()  # as if it had been stopped before
    assert ensemble(wholes, both.path).metrics()["test"] == metrics["test"]


def test_cross_validations_of_other_folds_are_refused_and_leave_nothing(wholes: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(wholes[1], other)
    films = RunFolder(other).manifest()
    films["fold"] = films["fold"].to_numpy()[::-1]
    write_manifest(films, other / "manifest.parquet")
    with pytest.raises(DataError, match="not in the folds in which"):
        ensemble([wholes[0], other], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_the_folds_of_a_cross_validation_predict_together_and_are_no_members(
    small_run: Path, other_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "cv"
    whole.mkdir()
    shutil.copy(small_run / "recipe.toml", whole / "recipe.toml")
    for number, run in enumerate((small_run, other_run)):
        shutil.copytree(run, whole / f"fold-{number}")
    films = some_films(phantoms, 4)
    expected = (p_of(load(small_run).predict(films)) + p_of(load(other_run).predict(films))) / 2
    np.testing.assert_allclose(p_of(load(whole).predict(films)), expected, atol=1e-9)
    with pytest.raises(RequestError, match=r"this is a cross-validation.*cross-validations with each other"):
        ensemble([small_run, whole], tmp_path / "out")
    (whole / "fold-1" / "weights.safetensors").unlink()
    with pytest.raises(RequestError, match=r"fold-1: this fold is not trained yet.*hilum crossval --resume"):
        load(whole)
