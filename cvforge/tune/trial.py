"""One trial: an ordinary run in a folder of the study, whose scores Optuna watches, and what became of it."""

from __future__ import annotations

import json
import logging
import math
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.trial import TrialState

from cvforge.callbacks.watch import WatchScores
from cvforge.config.load import load
from cvforge.errors import CVForgeError, DivergedError, InterruptedRunError, StorageError
from cvforge.fit import fit
from cvforge.runs import Run
from cvforge.tune.kept import keep_best
from cvforge.tune.locks import study_lock
from cvforge.tune.search import Search
from cvforge.tune.study import DIVERGED, INTERRUPTED, PRIMARY, REASON, RUN, SCORE

_log = logging.getLogger(__name__)
TRIAL_FILE = "trial.json"
TRACEBACK_FILE = "error.txt"
REASON_LENGTH = 300
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_OUT_OF_MEMORY = (torch.cuda.OutOfMemoryError, MemoryError)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: Optuna's word for it.
        score: the best of its validations, or None.
        reason: why it ended early or failed; empty for one that was completed.
        learn: whether the sampler should learn from a failure that its values caused.
        fresh: whether the process should end, since something unknown happened in it.
    """

    state: TrialState
    score: float | None
    reason: str = ""
    learn: bool = False
    fresh: bool = False


def run_trial(study: optuna.Study, trial: optuna.Trial, search: Search) -> Outcome:
    """Train with the drawn values and tell the study.

    Raises:
        InterruptedRunError: the user stopped it; the trial stays open, for the next process to go on with.
        StorageError: nothing can be written any more.
    """
    run = Run(search.path / trial.user_attrs[RUN])
    words = " ".join(search.drawn(trial.params))
    _log.info("trial %d: %s", trial.number, words)
    try:
        outcome = _train(study, trial, search, run)
    except (InterruptedRunError, KeyboardInterrupt):
        trial.set_user_attr(INTERRUPTED, True)
        raise
    _settle(study, trial, search, run, outcome)
    return outcome


def _train(study: optuna.Study, trial: optuna.Trial, search: Search, run: Run) -> Outcome:
    watch = WatchScores(_reporter(study, trial))
    try:
        config = load(search.config, search.trial_overrides(trial.params))
        fit(config, run_dir=run.dir, resume_from=_checkpoint(run), callbacks=[watch])
    except (InterruptedRunError, StorageError):
        raise
    except DivergedError as error:
        return Outcome(TrialState.PRUNED, None, str(error), learn=True)
    except _OUT_OF_MEMORY as error:
        return Outcome(TrialState.PRUNED, None, f"out of memory: {_first_line(error)}", learn=True, fresh=True)
    except CVForgeError as error:
        return Outcome(TrialState.FAIL, None, str(error))
    except Exception as error:  # a trial is the border: whatever its values broke must not end the search
        run.dir.mkdir(parents=True, exist_ok=True)
        (run.dir / TRACEBACK_FILE).write_text(traceback.format_exc(), encoding="utf-8")
        return Outcome(TrialState.FAIL, None, f"{type(error).__name__}: {_first_line(error)}", fresh=True)
    study.set_user_attr(PRIMARY, watch.primary)
    score = json.loads(run.metrics.read_text(encoding="utf-8"))["val"][watch.primary]
    if not math.isfinite(score):
        return Outcome(TrialState.FAIL, None, f"its score is {score}")
    if watch.stopped_after is not None:
        return Outcome(TrialState.PRUNED, score, f"pruned after epoch {watch.stopped_after} by {search.pruner}")
    return Outcome(TrialState.COMPLETE, score)


def _reporter(study: optuna.Study, trial: optuna.Trial) -> Callable[[int, float], bool]:
    known = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def report(epoch: int, score: float) -> bool:
        if epoch not in known:  # an epoch that an interrupted process had reported already
            trial.report(score, epoch)
        return trial.should_prune()

    return report


def _checkpoint(run: Run) -> Path | None:
    """Where a trial that was interrupted goes on; without a checkpoint it begins anew in an empty folder."""
    if run.config.is_file() and run.last_checkpoint.is_file():
        return run.last_checkpoint
    if run.dir.exists():
        shutil.rmtree(run.dir)
    return None


def _settle(study: optuna.Study, trial: optuna.Trial, search: Search, run: Run, outcome: Outcome) -> None:
    """Write what became of the trial into its folder and the study, and drop checkpoints that are not among the best."""
    record = {
        "study": str(search.path.resolve()),
        "trial": trial.number,
        "params": search.drawn(trial.params),
        "state": "failed" if outcome.learn else STATES[outcome.state],
        "score": outcome.score,
        "reason": outcome.reason,
    }
    run.dir.mkdir(parents=True, exist_ok=True)
    (run.dir / TRIAL_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    with study_lock(search.path):
        for key, value in ((REASON, outcome.reason), (DIVERGED, outcome.learn), (SCORE, outcome.score)):
            if value:
                trial.set_user_attr(key, value)
        value = outcome.score if outcome.state == TrialState.COMPLETE else None
        study.tell(trial, value, state=outcome.state)
        keep_best(study, search)
    _log.info("trial %d: %s %s %s", trial.number, record["state"], outcome.score or "", outcome.reason)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:REASON_LENGTH] if lines else "no message"
