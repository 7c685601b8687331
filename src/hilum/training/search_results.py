"""What a search has found so far, as its files: trials.csv, search.json, best.toml and the page."""

from __future__ import annotations

import statistics
import warnings
from collections import Counter
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from hilum.evaluation.intervals import wilson_interval
from hilum.evaluation.run_folder import RunFolder
from hilum.files import whole_file, write_json, write_text
from hilum.recipe.load import to_toml
from hilum.recipe.schema import Recipe, Search
from hilum.report.search import write_search_page
from hilum.training.schedule import higher_is_better
from hilum.training.search_plan import Plan
from hilum.training.search_space import with_values
from hilum.training.study import ERROR, Store

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
FIGURES = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")


def write_results(run: RunFolder, store: Store, plan: Plan) -> None:
    """Write the files of what is finished; a search that goes on writes them again."""
    trials = store.trials()
    with whole_file(run.path / "trials.csv") as part:
        table(trials, plan).to_csv(part, index=False)
    found = document(run, store, plan, trials)
    write_json(run.path / "search.json", found)
    if found["best"] is not None:
        write_text(run.path / "best.toml", to_toml(_best_recipe(run.recipe(), found)))
    write_search_page(run.path)


def table(trials: dict[int, FrozenTrial], plan: Plan) -> pd.DataFrame:
    """A row per trial: its values, the figures of the epoch that it keeps, and what became of it."""
    rows = []
    for place, trial in sorted(trials.items()):
        tried, facts = plan.tried(place), trial.user_attrs
        row = {"trial": place + 1, "state": STATES[trial.state]}
        if tried is not None:
            row["tried"] = tried.key
        row |= dict.fromkeys(parameter.key for parameter in plan.parameters) | _values(trial, plan)
        kept = facts.get("row", {})
        row |= {f"validation_{name}": kept.get(f"validation_{name}") for name in FIGURES}
        row |= {name: int(kept[name]) if kept else None for name in ("stage", "epoch")}
        row["epochs"] = facts.get("epochs")
        rows.append(row | {name: facts.get(name) for name in ("seconds", "same_as", ERROR)})
    return pd.DataFrame(rows, dtype=object)  # whole numbers stay whole beside missing ones


def document(run: RunFolder, store: Store, plan: Plan, trials: dict[int, FrozenTrial]) -> dict[str, Any]:
    """search.json: the best, the effect of each parameter, and of what films and trials they speak."""
    manifest = run.manifest()
    films = manifest[manifest["part"] == "validation"]
    counted = Counter(STATES[trial.state] for trial in trials.values())
    importances, why = _importances(store, plan, trials)
    return {
        "method": plan.how.method,
        "monitor": plan.how.monitor,
        "higher_is_better": higher_is_better(plan.how.monitor),
        "part": "validation",
        "n": len(films),
        "patients": int(films["patient_id"].nunique()) or None,
        "trials": {"planned": plan.total, **{name: counted[name] for name in STATES.values()}},
        "seconds": round(sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in trials.values()), 1),
        "best": _best(trials, plan, len(films)),
        "effects": _effects(trials, plan),
        "importances": importances,
        "no_importances": why,
        "study": {"name": store.study.study_name, "storage": store.url if "sqlite" not in store.url else None},
        "notes": run.environment()["notes"],
    }


def _best(trials: dict[int, FrozenTrial], plan: Plan, films: int) -> dict[str, Any] | None:
    place = plan.chosen(trials)
    if place is None:
        return None
    trial = trials[place]
    low, high = wilson_interval(round(trial.value * films), films) if plan.how.monitor == "accuracy" else (None, None)
    return {"trial": place + 1, "value": trial.value, "low": low, "high": high, "values": _values(trial, plan)}


def _effects(trials: dict[int, FrozenTrial], plan: Plan) -> list[dict[str, Any]]:
    """Of each parameter, the figure of each finished trial by the parameter's value."""
    effects = []
    for parameter in plan.parameters:
        points = [
            {"trial": place + 1, "value": parameter.value_of(trial.params[parameter.key]), "figure": trial.value}
            for place, trial in sorted(trials.items())
            if trial.state == TrialState.COMPLETE
            and parameter.key in trial.params
            and plan.tried(place) in (None, parameter)
        ]
        listed = [] if parameter.range is not None else list(parameter.values)
        effects.append(
            {
                "key": parameter.key,
                "values": listed,
                "log": parameter.range is not None and parameter.range.log,
                "medians": [_median([p["figure"] for p in points if p["value"] == value]) for value in listed],
                "points": points,
            }
        )
    return effects


def _median(figures: list[float]) -> float | None:
    return statistics.median(figures) if figures else None


def _importances(store: Store, plan: Plan, trials: dict[int, FrozenTrial]) -> tuple[dict[str, float], str]:
    """Optuna's importance of each parameter (PED-ANOVA, Watanabe et al. 2023, IJCAI), or why there is none."""
    figures = [trial.value for trial in trials.values() if trial.state == TrialState.COMPLETE]
    if plan.how.method == "one_at_a_time":
        return {}, "parameters that are tried one at a time are not varied together"
    if len(plan.parameters) < 2:
        return {}, "there is one parameter only"
    if len(set(figures)) < 2:
        return {}, "the finished trials do not differ"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            found = optuna.importance.get_param_importances(store.study)
    except (ValueError, RuntimeError) as error:
        return {}, str(error)
    return {key: float(share) for key, share in found.items()}, ""


def _values(trial: FrozenTrial, plan: Plan) -> dict[str, Any]:
    """The values of a trial, in the order of the space; what the recipe itself has is not named."""
    return {
        parameter.key: parameter.value_of(trial.params[parameter.key])
        for parameter in plan.parameters
        if parameter.key in trial.params
    }


def _best_recipe(recipe: Recipe, found: dict[str, Any]) -> Recipe:
    best, trials = found["best"], found["trials"]["finished"]
    chosen = with_values(recipe, best["values"])
    said = (
        f"Values chosen by hilum search: the best of {trials} trials by {found['monitor']} on the validation part, "
        f"{best['value']:.4f}, n = {found['n']} films."
    )
    about = chosen.about.model_copy(update={"summary": f"{chosen.about.summary} {said}".strip()})
    return chosen.model_copy(update={"search": Search(), "about": about})
