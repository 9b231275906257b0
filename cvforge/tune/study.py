"""The study of a search: an SQLite file that several processes hand trials out from, stopped and killed at any moment."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from cvforge.config.schema import Config
from cvforge.errors import ConfigError, StorageError, TuningError
from cvforge.tune.draw import build_pruner, build_sampler, distributions, grid_points
from cvforge.tune.locks import LOCK, is_alive, study_lock
from cvforge.tune.own_values import own_values
from cvforge.tune.search import Search, definition, differences

DATABASE = "study.db"
NAME = "search"
DEFINITION, PRIMARY = "definition", "primary"
"""Attributes of the study: what it searches, and the name of the score."""
WORKER, INTERRUPTED, KILLS, SUPERSEDED = "worker", "interrupted", "kills", "superseded"
RUN, REASON, SCORE, DIVERGED = "run", "reason", "score", "diverged"
"""Attributes of a trial. Its process and how often one of it ended; whether another trial took it over; its folder, why it
ended early or failed, the best score of a pruned one, and whether its values themselves made it fail."""
MOST_KILLS = 3
FIRST_FAILURES = 3
BUSY_TIMEOUT_S = 60
DIFFERENCES_SHOWN = 12
optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(search: Search) -> optuna.Study:
    """The study in the folder, which exists."""
    storage = RDBStorage(_url(search.path), engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}})
    pruner = build_pruner(search.pruner, max_epochs=search.max_epochs)
    return optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)


def begin_study(search: Search, config: Config) -> optuna.Study:
    """Make the study, or hold what is asked for against the one that is there.

    Args:
        search: what is asked for.
        config: that of its first edges, checked.

    Raises:
        ConfigError: the study that is there searches something else.
        StorageError: the folder cannot be made or holds other things.
    """
    _make_folder(search.path)
    asked = definition(config, search.parameters)
    with study_lock(search.path):
        storage = RDBStorage(_url(search.path), engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}})
        study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize", load_if_exists=True)
        stored = study.user_attrs.get(DEFINITION)
        if stored is not None:
            _refuse_another(search, asked, stored)
        else:
            study.set_user_attr(DEFINITION, asked)
        _enqueue_first(study, search)
    return study


def places(study: optuna.Study) -> list[FrozenTrial]:
    """The trials, without those that another one took over and those that nobody has begun."""
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.state != TrialState.WAITING and SUPERSEDED not in t.user_attrs]


def claim(study: optuna.Study, search: Search, *, worker: str) -> optuna.Trial | None:
    """The next trial for this worker, with all values drawn; None when the others suffice.

    Raises:
        TuningError: the first trials of this call all failed.
    """
    with study_lock(search.path):
        take_over(study, search)
        begun = places(study)
        check_first(begun, since=search.since)
        if len(begun) >= search.trials:
            return None
        number = len(study.get_trials(deepcopy=False))
        study.sampler = build_sampler(search.sampler, seed=search.seed, number=number, trials=search.trials)
        trial = study.ask(distributions(search.parameters))
        trial.set_user_attr(WORKER, worker)
        if RUN not in trial.user_attrs:
            trial.set_user_attr(RUN, f"trials/{trial.number:03d}")
        return trial


def take_over(study: optuna.Study, search: Search) -> None:
    """Let trials whose process is gone be begun again, in the same place and from their checkpoint."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        if worker is not None and is_alive(search.path, worker):
            continue
        kills = trial.user_attrs.get(KILLS, 0) + (INTERRUPTED not in trial.user_attrs)
        if kills >= MOST_KILLS:
            note(study, trial, REASON, f"its process was killed {kills} times; not enough memory?")
        else:
            note(study, trial, SUPERSEDED, True)
            study.add_trial(_again(trial, kills))
        study.tell(trial.number, state=TrialState.FAIL)


def note(study: optuna.Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Set an attribute of a trial that runs elsewhere: an `optuna.Trial` of it would draw its values anew."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def failed(trial: FrozenTrial) -> bool:
    """Whether a trial ended without a result; Optuna calls a diverged one pruned, to learn from it."""
    return trial.state == TrialState.FAIL or DIVERGED in trial.user_attrs


def check_first(begun: list[FrozenTrial], *, since: str) -> None:
    """Whether there is any sense in going on.

    Raises:
        TuningError: the first trials since then all failed.
    """
    start = datetime.fromisoformat(since)
    ended = [t for t in begun if t.datetime_complete is not None and t.datetime_complete >= start]
    if len(ended) < FIRST_FAILURES or not all(failed(trial) for trial in ended):
        return
    lines = [f"  trial {t.number}: {t.user_attrs.get(REASON, 'no reason was noted')}" for t in ended]
    raise TuningError("\n".join([f"the first {len(ended)} trials all failed; the search ends here", *lines]))


def _again(trial: FrozenTrial, kills: int) -> FrozenTrial:
    attributes = {key: value for key, value in trial.user_attrs.items() if key not in (WORKER, INTERRUPTED)}
    return optuna.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**attributes, KILLS: kills},
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def _enqueue_first(study: optuna.Study, search: Search) -> None:
    """What is not for the sampler to draw: all of a grid, or the config's own values as the first trial."""
    trials = [t for t in study.get_trials(deepcopy=False) if SUPERSEDED not in t.user_attrs]
    if search.sampler == "grid":
        for point in grid_points(search.parameters, search.trials)[len(trials) :]:
            study.enqueue_trial(point)
    elif not trials:
        own = own_values(search.config, list(search.overrides), search.parameters)
        if own is not None:
            study.enqueue_trial(own)


def _refuse_another(search: Search, asked: dict[str, Any], stored: dict[str, Any]) -> None:
    lines = differences(asked, stored)
    if not lines:
        return
    more = [f"  and {len(lines) - DIFFERENCES_SHOWN} more"] if len(lines) > DIFFERENCES_SHOWN else []
    head = f"{search.folder}: holds a study of something else; choose another folder with --study, or ask for the same"
    raise ConfigError("\n".join([head, *(f"  {line}" for line in lines[:DIFFERENCES_SHOWN]), *more]))


def _make_folder(folder: Path) -> None:
    files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if files and not files & {DATABASE, LOCK}:
        raise ConfigError(f"{folder}: holds other files and no study; choose another folder with --study")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise StorageError(
            f"{folder}: the study's folder cannot be made ({error}); choose another with --study"
        ) from error


def _url(folder: Path) -> str:
    return f"sqlite:///{(folder / DATABASE).resolve()}"
