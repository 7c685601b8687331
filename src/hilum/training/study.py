"""The study behind a search: its trials in a database, shared by all processes that work on it.

Optuna keeps the trials. What is added here: who works on which trial, so that one whose process has died is run again
and none is lost or run twice; and a place for each trial, counted from 0, that says what it tries. The n-th trial that
is no repetition has place n in whichever process, because the database gives each trial its number.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
import psutil
import sqlalchemy
import sqlalchemy.exc
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from hilum.errors import DataError, HilumError, RequestError
from hilum.recipe.schema import Search
from hilum.training.schedule import higher_is_better

# How long a trial without an owner's name may be on its way to one, where the database alone keeps order.
_UNOWNED_SECONDS = 60
_BUSY_SECONDS = 60
# Trials that are added in one commit, for which another process waits less than that.
_ADDED = 256
ERROR, SURPLUS = "error", "surplus"


@dataclass(frozen=True)
class Store:
    """An open study. url: of its database, without password. lock: held while a trial is chosen, where there is one."""

    study: optuna.Study
    storage: RDBStorage
    url: str
    lock: FileLock | None

    @contextmanager
    def held(self) -> Iterator[None]:
        """SQLite does not keep two processes from taking the same trial; a lock beside its file does."""
        with self.lock or contextlib.nullcontext(), errors_of(self.url):
            yield

    @contextmanager
    def one_commit(self) -> Iterator[None]:
        """What is written meanwhile is committed together, or not at all: for each commit the disk is waited for.

        Optuna commits whatever it writes; here its sessions join a transaction that they cannot end (SQLAlchemy,
        Joining a Session into an External Transaction).
        """
        sessions, engine = self.storage.scoped_session, self.storage.engine
        with errors_of(self.url), engine.begin() as connection:
            sessions.remove()
            sessions.configure(bind=connection, join_transaction_mode="rollback_only")
            try:
                yield
            finally:
                sessions.remove()
                sessions.configure(bind=engine, join_transaction_mode="conditional_savepoint")

    def trials(self) -> dict[int, FrozenTrial]:
        """Place -> its trial, of those that count: finished, failed with a reason, running or waiting."""
        with errors_of(self.url):
            found = self.study.get_trials(deepcopy=False)
        return _counting(found)


def open_store(url: str, name: str, about: Mapping[str, Any], *, search: Search) -> Store:
    """The study of a name in a database, made when it is not there yet.

    about: what the study is of, as JSON values. Refused with RequestError: an address that is none, a database whose
    driver is not installed, a study of the same name about something else; with DataError: a database that cannot be
    reached, is locked, or broken.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        address = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise RequestError(
            "this is no database URL",
            where=f"--storage {url}",
            next_step="Write it as sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        ) from None
    shown = address.render_as_string(hide_password=True)
    on_disk = address.get_backend_name() == "sqlite" and address.database
    if on_disk:
        Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{address.database}.lock") if on_disk else None
    pruner = optuna.pruners.MedianPruner() if search.prune else optuna.pruners.NopPruner()
    direction = "maximize" if higher_is_better(search.monitor) else "minimize"
    with lock or contextlib.nullcontext(), errors_of(shown):
        storage = _connected(url, shown, {"connect_args": {"timeout": _BUSY_SECONDS}} if on_disk else {})
        study = optuna.create_study(
            storage=storage, study_name=name, direction=direction, pruner=pruner, load_if_exists=True
        )
        before = study.user_attrs.get("about")
        if before is None:
            study.set_user_attr("about", dict(about))
    _refuse_other(before, about, name, shown)
    return Store(study, storage, shown, lock)


def _connected(url: str, shown: str, engine: dict[str, Any]) -> RDBStorage:
    try:
        return RDBStorage(url, engine_kwargs=engine)
    except sqlalchemy.exc.NoSuchModuleError:
        raise RequestError(
            "there is no such kind of database", where=shown, next_step="Use SQLite, PostgreSQL or MySQL."
        ) from None
    except ImportError as error:
        driver = getattr(error.__cause__, "name", None) or str(error)
        raise RequestError(
            f"the driver of this database is not installed: {driver}",
            where=shown,
            next_step=f"Install it with: pip install {driver}",
        ) from None


def _refuse_other(before: Mapping[str, Any] | None, about: Mapping[str, Any], name: str, url: str) -> None:
    for key, value in about.items():
        if before is not None and before.get(key) != value:
            raise RequestError(
                f"the study {name!r} is of another {key} than is asked for now",
                where=url,
                next_step="Search in another folder with -o, whose name is the study's.",
            )


def take(store: Store, total: int, *, repeats_only: bool = False) -> tuple[optuna.trial.Trial, int] | None:
    """The next trial to run, marked as this process's own, and its place; None when each place is taken.

    total: the number of places. Trials whose process on this machine has died come first, or alone (repeats_only).
    """
    with store.held():
        put_back_dead(store)
        while True:
            trials = store.study.get_trials(deepcopy=False)
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and (repeats_only or sum(_is_first(trial) for trial in trials) >= total):
                return None
            trial = store.study.ask()
            trial.set_user_attr("worker", worker())
            trials = store.study.get_trials(deepcopy=False)
            place = _places(trials)[trial.number]
            if place < total and _counting(trials)[place].number == trial.number:
                return trial, place
            # On databases without our lock another machine may have been faster.
            trial.set_user_attr(SURPLUS, True)
            store.study.tell(trial, state=TrialState.FAIL)


def take_known(
    store: Store,
    total: int,
    known: Callable[[int, Mapping[int, FrozenTrial]], dict[str, Any] | None],
    distributions: Mapping[str, BaseDistribution],
    most: int,
) -> list[tuple[optuna.trial.Trial, int]]:
    """Several trials at once, of places that nobody has taken and whose values are known.

    known: the values by key of a place, from what the trials before it gave. None are taken while there is a trial to
    repeat, where values are drawn or wait for others, and in a database of which we hold no lock.
    """
    if store.lock is None:
        return []
    with store.held():
        put_back_dead(store)
        before = store.study.get_trials(deepcopy=False)
        if any(trial.state == TrialState.WAITING for trial in before):
            return []
        first, counting, me = sum(map(_is_first, before)), _counting(before), {"worker": worker()}
        found = (known(place, counting) for place in range(first, min(first + most, total)))
        taken = [values for values in takewhile(lambda values: values is not None, found) if values is not None]
        for start in range(0, len(taken), _ADDED):
            with store.one_commit():
                for values in taken[start : start + _ADDED]:
                    of = {key: distributions[key] for key in values}
                    store.study.add_trial(
                        optuna.create_trial(state=TrialState.RUNNING, params=values, distributions=of, user_attrs=me)
                    )
        added = store.study.get_trials(deepcopy=False)[len(before) :]
        return [
            (optuna.trial.Trial(store.study, trial._trial_id), first + number) for number, trial in enumerate(added)
        ]


def put_back(store: Store, *trials: optuna.trial.Trial) -> None:
    """Give up trials of this process, so that whoever comes next runs them from their beginning."""
    with store.held():
        for trial in trials:
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # it has just finished
                store.study.tell(trial, state=TrialState.FAIL)
        _repeat_lost(store)


def put_back_dead(store: Store) -> None:
    """See that the trials of processes that have died on this machine are run again."""
    for trial in store.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial, locked=store.lock is not None):
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another was faster
                store.study.tell(trial.number, state=TrialState.FAIL)
    _repeat_lost(store)


def fail(store: Store, trial: optuna.trial.Trial, error: HilumError) -> None:
    """End a trial whose recipe cannot be trained, with the reason; it is not run again."""
    with errors_of(store.url):
        trial.set_user_attr(ERROR, str(error))
        store.study.tell(trial, state=TrialState.FAIL)


def worker() -> dict[str, Any]:
    """This process, so that it can be told from a later one of the same number."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": psutil.Process().create_time()}


def _repeat_lost(store: Store) -> None:
    """Queue each place whose trial was interrupted; what a process that died in here has not queued, too."""
    trials = store.study.get_trials(deepcopy=False)
    places, counting = _places(trials), _counting(trials)
    lost = {place: trials[number] for number, place in places.items() if place not in counting}
    for place, trial in sorted(lost.items()):
        store.study.enqueue_trial(trial.params, user_attrs={"place": place})


def _places(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Number -> place: of a repetition that of what it repeats, else its rank among those that repeat nothing."""
    first = [trial.number for trial in trials if _is_first(trial)]
    places = {number: place for place, number in enumerate(sorted(first))}
    return places | {trial.number: int(trial.user_attrs["place"]) for trial in trials if "place" in trial.user_attrs}


def _counting(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Place -> the trial that stands for it: the first that was not interrupted."""
    by_number, counting = {trial.number: trial for trial in trials}, dict[int, FrozenTrial]()
    for number, place in sorted(_places(trials).items()):
        trial = by_number[number]
        interrupted = trial.state == TrialState.FAIL and ERROR not in trial.user_attrs
        if not interrupted and SURPLUS not in trial.user_attrs:
            counting.setdefault(place, trial)
    return counting


def _is_first(trial: FrozenTrial) -> bool:
    return "place" not in trial.user_attrs and SURPLUS not in trial.user_attrs


def _is_dead(trial: FrozenTrial, *, locked: bool) -> bool:
    owner = trial.user_attrs.get("worker")
    if owner is None:  # killed before it could say its name, or about to say it
        age = datetime.datetime.now() - (trial.datetime_start or datetime.datetime.now())
        return locked or age.total_seconds() > _UNOWNED_SECONDS
    if owner["host"] != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(owner["pid"]).create_time() != owner["born"])
    except psutil.NoSuchProcess:
        return True


@contextmanager
def errors_of(url: str) -> Iterator[None]:
    """What databases raise, in words."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        if isinstance(error, optuna.exceptions.TrialPruned):
            raise
        reason = str(getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error).split("\n")[0]
        raise DataError(f"the study cannot be used: {reason}", where=url, next_step=_advice(reason)) from None


def _advice(reason: str) -> str:
    if "locked" in reason:
        return "Another program holds it. Close that program, or copy the file; then give the same command again."
    if "not a database" in reason or "malformed" in reason:
        return "The file is broken or something else. Search in another folder with -o, or bring back a copy of it."
    return "Mend this and give the same command again; what was finished is kept."
