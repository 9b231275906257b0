"""What a study found: its trials as plain records, the importance of parameters, and the best config as a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from cvforge.config.load import load, resolved_yaml
from cvforge.tune.kept import ranked
from cvforge.tune.locks import is_alive
from cvforge.tune.search import Search
from cvforge.tune.study import REASON, RUN, SCORE, WORKER, failed, places

BEST = "best.yaml"
ENOUGH = 4
"""Complete trials, before anything is said about importance."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as its readers see it.

    Attributes:
        number: Optuna's.
        state: complete, pruned, failed, running or interrupted.
        score: of a complete trial, or the best one of a pruned one.
        params: key -> value as on a command line.
        run: its folder, from the study's.
        reason: why it ended early or failed.
        history: (epoch, score) of its validations.
        seconds: from its beginning to its end.
    """

    number: int
    state: str
    score: float | None
    params: dict[str, str]
    run: str
    reason: str
    history: tuple[tuple[int, float], ...]
    seconds: float | None

    @property
    def overrides(self) -> list[str]:
        """The drawn values for a command line."""
        return [f"{key}={value}" for key, value in self.params.items()]


def records(study: optuna.Study, search: Search) -> list[TrialRecord]:
    """All trials that were begun, in their order."""
    return [_record(trial, search) for trial in places(study)]


def best_first(found: list[TrialRecord]) -> list[TrialRecord]:
    """The complete ones, best first; of equal ones the earlier."""
    complete = [record for record in found if record.state == "complete"]
    return sorted(complete, key=lambda record: (-(record.score or 0.0), record.number))


def importances(study: optuna.Study) -> dict[str, float]:
    """How much of the difference between good and bad trials each parameter explains; 1 in all; empty if unknown.

    Source: Watanabe et al. 2023, PED-ANOVA, as Optuna computes it.
    """
    scores = {trial.value for trial in ranked(places(study))}
    if len(ranked(places(study))) < ENOUGH or len(scores) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return {key: float(share) for key, share in optuna.importance.get_param_importances(study).items()}


def write_best(study: optuna.Study, search: Search, *, primary: str) -> TrialRecord | None:
    """Write `best.yaml`, a config for `tools/train.py --config`, and return its trial; None where none is complete."""
    trials = ranked(places(study))
    if not trials:
        return None
    record = _record(trials[0], search)
    config = load(search.config, [*search.overrides, *search.drawn(trials[0].params)])
    config.run.dir = None
    head = [
        f"# The best of {len(trials)} complete trials of {search.config}: trial {record.number}, {' '.join(record.overrides)}.",
        f"# measured: val {primary} {record.score:.4f} (one seed, and chosen by it: score it on data of its own)",
        f"# {search.command(record.overrides)}",
    ]
    temporary = search.path / f".{BEST}.tmp"
    temporary.write_text("\n".join(head) + "\n" + resolved_yaml(config), encoding="utf-8")
    temporary.replace(search.path / BEST)
    return record


def _record(trial: FrozenTrial, search: Search) -> TrialRecord:
    attributes = trial.user_attrs
    ended = trial.datetime_complete and trial.datetime_start
    return TrialRecord(
        number=trial.number,
        state=_state(trial, search),
        score=trial.value if trial.state == TrialState.COMPLETE else attributes.get(SCORE),
        params={p.key: p.values.text(trial.params[p.key]) for p in search.parameters if p.key in trial.params},
        run=attributes.get(RUN, ""),
        reason=attributes.get(REASON, ""),
        history=tuple(sorted(trial.intermediate_values.items())),
        seconds=(trial.datetime_complete - trial.datetime_start).total_seconds() if ended else None,
    )


def _state(trial: FrozenTrial, search: Search) -> str:
    if trial.state == TrialState.RUNNING:
        return "running" if is_alive(search.path, trial.user_attrs.get(WORKER, "")) else "interrupted"
    if failed(trial):
        return "failed"
    return "pruned" if trial.state == TrialState.PRUNED else "complete"
