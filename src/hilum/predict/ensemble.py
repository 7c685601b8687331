"""Several runs as one: the mean of what they say, or a regression on it that was fitted on their validation films.

No network computes anything here: the runs have predicted their films already.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.data import duplicates
from hilum.data.manifest import write_manifest
from hilum.errors import DataError, RequestError, WeightsError
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import class_numbers, classes_of, from_probabilities, probabilities_of
from hilum.evaluation.predictions import write_predictions as write_table
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json, write_text
from hilum.predict.members import (
    ENSEMBLE,
    Combination,
    EnsembleRecord,
    Floats,
    MemberRecord,
    log_probabilities,
    members_of,
    refuse_other_classes,
)
from hilum.progress import SILENT, Progress
from hilum.recipe.load import to_toml
from hilum.recipe.schema import Recipe
from hilum.report.page import write_report
from hilum.training.crossval import pool
from hilum.training.environment import describe_environment, now, sha256_of

How = Literal["average", "stack"]
# Of these a regression with (M K + 1) K coefficients can be fitted at all.
FEWEST_FILMS = 20


def ensemble(
    runs: Sequence[Path | str], out: Path | str, *, how: How = "average", progress: Progress = SILENT
) -> RunFolder:
    """Combine runs of the same classes into the folder `out`, which then predicts, is judged and compared like a run.

    Cross-validations of the same folds are combined fold by fold, into a cross-validation of ensembles.

    how: average, the mean of their calibrated probabilities; or stack, a multinomial logistic regression on the
    logarithms of their probabilities, fitted on the films that are for validation in every run. The figures are of the
    films that every run has in the same part. Refused with RequestError: fewer than two runs, one twice, other classes,
    an `out` that holds something; with WeightsError: weights that are not those that predicted; with DataError: a run
    that learned from another's test films, their patients or copies, films with two labels, no test film in common, too
    few validation films to stack; cross-validations with other films in a fold.
    """
    out, paths = Path(out), [Path(run) for run in runs]
    _check_vacant(out)
    _check_named(paths)
    if all(members_of(path).kind == "folds" for path in paths):
        return _fold_by_fold([RunFolder(path) for path in paths], out, how, progress)
    members = _members(paths)
    manifests = [member.manifest() for member in members]
    with progress.task("comparing the films of the runs", 1) as advance:
        _refuse_crossing(manifests, members)
        advance(1)
    films, notes = _common(manifests, members)
    predictions = [member.predictions().set_index("image_id").loc[films["image_id"]] for member in members]
    classes = classes_of(predictions[0])
    p = np.stack([probabilities_of(table) for table in predictions])
    combination = Combination()
    if how == "stack":
        validation = (films["part"] == "validation").to_numpy(bool)
        combination = fit_stack(p[:, validation], class_numbers(films["class"], classes)[validation], classes)
        notes.append(
            f"stacked on the {int(validation.sum())} validation films: figures of the validation part, and operating "
            "points, are of the films that it was fitted on"
        )
    record = EnsembleRecord(
        classes=tuple(classes),
        members=tuple(
            MemberRecord(run=_relative(member.path, out), weights_sha256=sha256_of(member.weights_path))
            for member in members
        ),
        combination=combination,
    )
    combined = from_probabilities(films, combination(p), classes)
    with progress.task("figures and their intervals", 1 + len(members)) as advance:
        metrics = _figures(members, combined, [from_probabilities(films, of_one, classes) for of_one in p], advance)
    _write(out, members, record, films, combined, metrics, _notes(members, notes))
    with progress.task("report", 1) as advance:
        write_report(out)
        advance(1)
    return RunFolder(out)


def fit_stack(p: Floats, y: NDArray[np.int64], classes: Sequence[str]) -> Combination:
    """The multinomial logistic regression of class numbers y (N,) on the log-probabilities of p (M, N, K).

    With scikit-learn's default ridge penalty (C = 1), so that runs that say the same share their weight. Refused with
    DataError: fewer than 20 films, a class without one.
    """
    from sklearn.linear_model import LogisticRegression

    advice = "Average the runs: --how average."
    if len(y) < FEWEST_FILMS:
        raise DataError(
            f"the runs have {len(y)} validation films in common, and a stack needs {FEWEST_FILMS}", next_step=advice
        )
    for number, name in enumerate(classes):
        if not (y == number).any():
            raise DataError(f"no validation film that the runs share is of the class {name!r}", next_step=advice)
    fitted = LogisticRegression(max_iter=10_000).fit(log_probabilities(p), y)
    weights, intercept = fitted.coef_, fitted.intercept_
    if len(classes) == 2:  # it tells of the second class alone, with the first at 0
        weights, intercept = np.vstack((np.zeros_like(weights), weights)), np.append(0.0, intercept)
    return Combination(
        how="stack", coefficients=tuple(map(tuple, weights.tolist())), intercept=tuple(intercept.tolist())
    )


def _check_vacant(out: Path) -> None:
    # What an interrupted attempt left has no report yet, and is written over.
    begun = any((of / ENSEMBLE).is_file() for of in (out, out / "fold-0")) and not (out / "report.html").is_file()
    if out.exists() and not begun and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(
            "this folder is not empty", where=str(out), next_step="Choose another folder with -o, or delete it."
        )


def _check_named(paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        raise RequestError("an ensemble needs two runs or more", next_step="Name them: hilum ensemble RUN RUN -o OUT.")
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise RequestError("this run stands there twice", where=str(path), next_step="Name each run once.")


def _members(paths: Sequence[Path]) -> list[RunFolder]:
    """The runs, each whole and with the weights that predicted."""
    for path in paths:
        if (kind := members_of(path).kind) != "run" or path.is_file():
            raise RequestError(
                {
                    "run": "this is a file, and the run's own predictions are needed",
                    "folds": "this is a cross-validation, whose films are all test films of one of its folds",
                    "ensemble": "this is an ensemble itself",
                    "exported": "this is an exported network, which has no predictions of its own",
                }[kind],
                where=str(path),
                next_step={
                    "run": "Name the run's folder.",
                    "folds": "Combine cross-validations with each other, or its folds' own runs, as "
                    f"{path / 'fold-0'}, with runs of the same split.",
                    "ensemble": "Name its members.",
                    "exported": "Name the run that it was exported from.",
                }[kind],
            )
    members = [RunFolder(path) for path in paths]
    for member in members:
        if member.environment().get("weights_sha256") != sha256_of(member.weights_path):
            raise WeightsError(
                "the run's predictions are not of the weights that it has now",
                where=str(member.path),
                next_step="Bring its weights.safetensors back, or train it again.",
            )
    refuse_other_classes([classes_of(member.predictions()) for member in members], paths)
    return members


def _fold_by_fold(wholes: Sequence[RunFolder], out: Path, how: How, progress: Progress) -> RunFolder:
    """A cross-validation whose folds are ensembles of the folds of others."""
    _check_same_folds(wholes)
    for fold, members in enumerate(zip(*(whole.folds for whole in wholes), strict=True)):
        progress.say(f"fold-{fold} ({fold + 1} of {len(wholes[0].folds)})")
        (out / f"fold-{fold}" / "report.html").unlink(missing_ok=True)  # of an interrupted attempt
        ensemble([member.path for member in members], out / f"fold-{fold}", how=how, progress=progress)
    environment = wholes[0].environment()
    about = {key: environment[key] for key in ("classes", "scheme", "left_out") if key in environment}
    runs = [_relative(whole.path, out) for whole in wholes]
    write_json(out / "environment.json", {**describe_environment(), **about, "members": runs})
    write_text(out / "recipe.toml", to_toml(_titled(wholes, how)))
    write_manifest(wholes[0].manifest(), out / "manifest.parquet")
    with progress.task("figures of all folds and their intervals", 1) as advance:
        pool(RunFolder(out), _beside(wholes))
        advance(1)
    with progress.task("report", 1) as advance:
        write_report(out)
        advance(1)
    return RunFolder(out)


def _check_same_folds(wholes: Sequence[RunFolder]) -> None:
    first = wholes[0].manifest().set_index("image_id")["fold"]
    for whole in wholes[1:]:
        other = whole.manifest().set_index("image_id")["fold"]
        if set(other.index) != set(first.index) or not other.loc[first.index].equals(first):
            raise DataError(
                f"its films are not in the folds in which {wholes[0].path} has them",
                where=str(whole.path),
                next_step="Combine cross-validations of the same films, split and number of folds.",
            )


def _titled(members: Sequence[RunFolder], how: How) -> Recipe:
    """The first's recipe, by the name of what is made of all."""
    names = ", ".join(member.path.name for member in members)
    title = f"{'The average' if how == 'average' else 'A stack'} of {names}"
    recipe = members[0].recipe()
    own = recipe.about.model_copy(update={"title": title, "summary": "", "published": {}})
    return recipe.model_copy(update={"about": own})


def _beside(members: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """What each of the cross-validations found on the same films, for `_members` of metrics.json."""
    return [{**_about(whole), "test": whole.metrics()["test"]} for whole in members]


def _about(member: RunFolder) -> dict[str, Any]:
    recipe = member.recipe()
    return {"name": member.path.name, "backbone": recipe.model.backbone, "side_px": recipe.prepare.side_px}


def _refuse_crossing(manifests: Sequence[pd.DataFrame], members: Sequence[RunFolder]) -> None:
    """DataError where a run learned from a film that is in another's test part, or from its patient or a copy."""
    every = pd.concat([films.assign(member=number) for number, films in enumerate(manifests)], ignore_index=True)
    cluster = duplicates.clusters(every.drop_duplicates("image_id"))
    every["cluster"] = every["image_id"].map(cluster)
    is_test = every["part"] == "test"
    for a, b in itertools.permutations(range(len(members)), 2):
        learned, tested = every[(every["member"] == a) & ~is_test], every[(every["member"] == b) & is_test]
        own = every[(every["member"] == b) & ~is_test]
        seen = pd.Series(False, index=tested.index)
        for key in ("cluster", "patient_id"):
            # What a run itself has on both sides it says in its notes.
            foreign = set(learned[key].dropna()) - set(own[key].dropna())
            seen |= tested[key].isin(foreign)
        if seen.any():
            raise DataError(
                f"{members[a].path} learned from {int(seen.sum())} test films of {members[b].path}, or from copies "
                f"or from their patients; the first: {tested.loc[seen, 'image_id'].iloc[0]}",
                next_step="Combine runs of one split. Folds of a cross-validation predict together already, as: "
                "hilum predict runs/cv FILM.",
            )


def _common(manifests: Sequence[pd.DataFrame], members: Sequence[RunFolder]) -> tuple[pd.DataFrame, list[str]]:
    """The first run's rows that every run has in the same part, and a note of the others."""
    first = manifests[0].set_index("image_id", drop=False)
    kept = pd.Series(True, index=first.index)
    for films, member in zip(manifests[1:], members[1:], strict=True):
        other = films.set_index("image_id").reindex(first.index)
        there = other["part"].notna()
        for column, what in (("sha256", "is another file"), ("class", "has another label")):
            if (differ := there & (other[column] != first[column])).any():
                raise DataError(
                    f"{first.index[differ][0]} {what} in {member.path} than in {members[0].path}",
                    next_step="Combine runs of the same films and the same task.",
                )
        kept &= there & (other["part"] == first["part"])
    films = first[kept].reset_index(drop=True)
    if not (films["part"] == "test").any():
        raise DataError(
            "the runs have no test film in common, so nothing could be said of their ensemble",
            next_step="Combine runs of one split.",
        )
    every = len(set().union(*(films["image_id"] for films in manifests)))
    left = every - len(films)
    return films, [f"{left} of {every} films are not in the same part of every run and were left out"] if left else []


def _figures(
    members: Sequence[RunFolder], combined: pd.DataFrame, apart: Sequence[pd.DataFrame], advance: Any
) -> dict[str, Any]:
    """metrics.json: as of a run, and in `_members` the test figures of each member on the same films."""
    recipe = members[0].recipe()
    metrics = evaluate(combined, recipe.evaluate, seed=recipe.training.seed)
    advance(1)
    metrics["_members"] = []
    for member, table in zip(members, apart, strict=True):
        test = table[table["part"] == "test"]
        metrics["_members"].append(
            _about(member) | {"test": evaluate(test, recipe.evaluate, seed=recipe.training.seed)["test"]}
        )
        advance(1)
    return metrics


def _notes(members: Sequence[RunFolder], own: Sequence[str]) -> list[str]:
    of_members = [note for member in members for note in member.environment().get("notes", [])]
    known = "its members' figures of the test part were known before it was made: judge it on films of elsewhere too"
    return list(dict.fromkeys([*own, known, *of_members]))


def _write(
    out: Path,
    members: Sequence[RunFolder],
    record: EnsembleRecord,
    films: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    notes: list[str],
) -> None:
    environments = [member.environment() for member in members]
    recipe = members[0].recipe()
    about = {
        **describe_environment(),
        "seed": recipe.training.seed,
        "classes": list(record.classes),
        "scheme": environments[0].get("scheme"),
        "left_out": environments[0].get("left_out", {}),
        "notes": notes,
        "members": [member.run for member in record.members],
        "training_seconds": round(sum(each.get("training_seconds", 0.0) for each in environments), 1),
        "test_part_opened": min(each["test_part_opened"] for each in environments),
        "finished": now(),
    }
    metrics["_about"]["notes"] = notes
    write_json(out / ENSEMBLE, record.model_dump(mode="json"))
    write_text(out / "recipe.toml", to_toml(_titled(members, record.combination.how)))
    write_manifest(films, out / "manifest.parquet")
    write_table(predictions, out / "predictions.csv")
    write_json(out / "metrics.json", metrics)
    write_json(out / "environment.json", about)


def _relative(run: Path, out: Path) -> str:
    """The run's folder as seen from the ensemble's, so that both can be moved together."""
    return Path(os.path.relpath(run.resolve(), out.resolve())).as_posix()
