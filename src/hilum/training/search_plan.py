"""Which values the trial at each place of a search takes, from its method, its seed and the trials before it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from hilum.recipe.schema import Search
from hilum.training.schedule import higher_is_better
from hilum.training.search_space import Parameter, combination, every_value, grid_size
from hilum.training.study import Store

# Without a number of trials, of the methods that have no end of their own.
TRIALS = 30
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Plan:
    """A search as places, from 0, each with its values. trials: at most so many places, or None."""

    how: Search
    parameters: tuple[Parameter, ...]
    trials: int | None

    @property
    def total(self) -> int:
        """How many places there are."""
        all_of_them = {
            "grid": lambda: grid_size(list(self.parameters)),
            "one_at_a_time": lambda: sum(len(every_value(parameter)) for parameter in self.parameters),
        }
        if self.how.method in all_of_them:
            size = all_of_them[self.how.method]()
            return min(size, self.trials or size)
        return self.trials or TRIALS

    def tried(self, place: int) -> Parameter | None:
        """The parameter whose values are tried at a place, with one at a time; None with the other methods."""
        return self._turn(place)[0] if self.how.method == "one_at_a_time" else None

    def values(self, trial: Trial, place: int, store: Store) -> dict[str, Any] | None:
        """The trial's values by key, which the study keeps from now on; None while trials before it are not done.

        A place has the same values whichever process runs it, and however often; with TPE as far as the trials before
        it are the same.
        """
        fixed = self._fixed(place, store.trials())
        if fixed is None:
            return None
        seed = int(np.random.SeedSequence([self.how.seed, place]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler if self.how.method == "tpe" else optuna.samplers.RandomSampler
            store.study.sampler = optuna.samplers.PartialFixedSampler(fixed, sampler(seed=seed))
        asked = [p for p in self.parameters if p.key in fixed] or self.parameters
        return {parameter.key: parameter.suggested(trial) for parameter in asked}

    def known(self, place: int, trials: Mapping[int, FrozenTrial]) -> dict[str, Any] | None:
        """All values of a place by key, as the study stores them, where they are known beforehand; else None.

        They are not where the method draws them, or where they are built on trials that are not done.
        """
        return self._fixed(place, trials) if self.how.method in ("grid", "one_at_a_time") else None

    def read(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's values by key, from what the study stored, in the order of the space."""
        return {each.key: each.value_of(stored[each.key]) for each in self.parameters if each.key in stored}

    def _fixed(self, place: int, trials: Mapping[int, FrozenTrial]) -> dict[str, Any] | None:
        """What the method says beforehand, as the study stores it; None while that is not known."""
        if self.how.method == "grid":
            values = combination(list(self.parameters), place, self.how.seed)
            return {parameter.key: parameter.stored(values[parameter.key]) for parameter in self.parameters}
        if self.how.method != "one_at_a_time":
            return {}
        fixed: dict[str, Any] = {}
        start = 0
        now, at = self._turn(place)
        for parameter in self.parameters:
            if parameter == now:
                return {**fixed, parameter.key: parameter.stored(every_value(parameter)[at])}
            end = start + len(every_value(parameter))
            if any(before not in trials or trials[before].state not in FINISHED for before in range(start, end)):
                return None
            best = self._best(trials, range(start, end))
            if best is not None:  # else none of its values could be trained, and the recipe's own stays
                fixed[parameter.key] = trials[best].params[parameter.key]
            start = end
        raise AssertionError("every place has its turn")

    def _turn(self, place: int) -> tuple[Parameter, int]:
        """The parameter that is tried at a place, and which of its values."""
        for parameter in self.parameters:
            count = len(every_value(parameter))
            if place < count:
                return parameter, place
            place -= count
        raise IndexError("there is no such place")

    def chosen(self, trials: Mapping[int, FrozenTrial]) -> int | None:
        """The place whose values the search chooses: the best one; with one at a time, of the last parameter tried."""
        if self.how.method != "one_at_a_time":
            return self._best(trials, range(self.total))
        chosen, start = None, 0
        for parameter in self.parameters:
            end = start + len(every_value(parameter))
            best = self._best(trials, range(start, end))
            chosen, start = chosen if best is None else best, end
        return chosen

    def _best(self, trials: Mapping[int, FrozenTrial], places: range) -> int | None:
        """The first of the best finished trials at some places; None where none has finished."""
        done = [place for place in places if place in trials and trials[place].state == TrialState.COMPLETE]
        sign = 1.0 if higher_is_better(self.how.monitor) else -1.0
        return max(done, key=lambda place: sign * float(trials[place].value), default=None)
