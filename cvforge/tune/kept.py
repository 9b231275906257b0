"""Bounds the disk: checkpoints stay for the best trials only."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial, TrialState

from cvforge.runs import Run
from cvforge.tune.search import Search
from cvforge.tune.study import RUN, places


def ranked(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The complete ones, best first; of equal ones the earlier."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def keep_best(study: optuna.Study, search: Search) -> None:
    """Remove the checkpoints of all ended trials but the best; those keep their best one.

    The rest of a run's folder (config, scores, curves, pictures, log) stays.
    """
    trials = places(study)
    kept = {trial.number for trial in ranked(trials)[: search.keep]}
    for trial in trials:
        if not trial.state.is_finished() or RUN not in trial.user_attrs:
            continue
        run = Run(search.path / trial.user_attrs[RUN])
        run.last_checkpoint.unlink(missing_ok=True)
        if trial.number not in kept:
            run.best_checkpoint.unlink(missing_ok=True)
