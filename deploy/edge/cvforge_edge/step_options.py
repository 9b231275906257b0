"""The options for what happens after the network: classes, smoothing, tracking, rules."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.errors import RulesError, UsageError
from cvforge_edge.option_types import fraction, seconds
from cvforge_edge.records import dataclass
from cvforge_edge.steps.tracking_defaults import KEEP_LOST_S, LOWEST_SCORE

if TYPE_CHECKING:
    from cvforge_edge.manifest import Manifest
    from cvforge_edge.postprocess import PostprocessSpec
    from cvforge_edge.rules.rule_types import Rules
    from cvforge_edge.steps.step import Step
    from cvforge_edge.types import Task

SMOOTH_S = 0.5


@dataclass(frozen=True)
class StepPlan:
    """What is to happen after the network; `steps_for` makes it for one source.

    Attributes:
        task: of the model.
        score_threshold: what the bundle, or the user, says.
        classes: class ids that stay, each with its lowest score, or None for the usual; None for all classes.
        keep_lost_s: tracking, and how long an object that is not seen keeps its id; None does not track.
        smooth_s: time constant of smoothed probabilities; None leaves them.
        rules: None for none.
        mask_opacity: None for the usual.
    """

    task: Task
    score_threshold: float
    classes: dict[int, float | None] | None = None
    keep_lost_s: float | None = None
    smooth_s: float | None = None
    rules: Rules | None = None
    mask_opacity: float | None = None

    @property
    def lowest_scores(self) -> dict[int, float] | None:
        """Class ids that stay, each with its lowest score; None for all classes."""
        if self.classes is None:
            return None
        return {class_id: self.score_threshold if score is None else score for class_id, score in self.classes.items()}

    def steps_for(self, source: str) -> list[Step]:
        """New steps for a source of this name, in their order; what is not asked for is not imported."""
        steps: list[Step] = []
        if self.lowest_scores is not None:
            from cvforge_edge.steps.class_filter import ClassFilter

            steps.append(ClassFilter(self._filter_scores(self.lowest_scores)))
        if self.smooth_s is not None:
            from cvforge_edge.steps.label_smoother import LabelSmoother

            steps.append(LabelSmoother(over_s=self.smooth_s))
        if self.keep_lost_s is not None:
            from cvforge_edge.steps.tracker import Tracker

            thresholds = self.lowest_scores
            steps.append(
                Tracker(score_threshold=self.score_threshold, class_thresholds=thresholds, keep_lost_s=self.keep_lost_s)
            )
        if self.mask_opacity is not None:
            from cvforge_edge.steps.mask_opacity import MaskOpacity

            steps.append(MaskOpacity(self.mask_opacity))
        if self.rules is not None:
            from cvforge_edge.steps.event_log import EventLog
            from cvforge_edge.steps.rule_engine import RuleEngine

            gone_after_s = (self.keep_lost_s or 0.0) + 1.0
            steps += [RuleEngine(self.rules.for_source(source), gone_after_s=gone_after_s), EventLog()]
        return steps

    def retune(self, steps: Iterable[Step]) -> None:
        """Let steps of a plan that differs from this one by its threshold go by this one; from any thread."""
        from cvforge_edge.steps.class_filter import ClassFilter
        from cvforge_edge.steps.tracker import Tracker

        for step in steps:
            if isinstance(step, ClassFilter) and self.lowest_scores is not None:
                step.set_lowest_scores(self._filter_scores(self.lowest_scores))
            elif isinstance(step, Tracker):
                step.set_thresholds(self.score_threshold, self.lowest_scores)

    def _filter_scores(self, lowest_scores: dict[int, float]) -> dict[int, float]:
        """A tracker has the thresholds: it may follow an object further down."""
        return lowest_scores if self.keep_lost_s is None else dict.fromkeys(lowest_scores, 0.0)

    def check_sources(self, names: Sequence[str]) -> None:
        """Refuse rules for sources that are not there.

        Raises:
            RulesError: a rule names a source that is none of these.
        """
        wanted = {name for rule in (self.rules.rules if self.rules else ()) for name in rule.sources or ()}
        missing = sorted(wanted - set(names))
        if missing:
            raise RulesError(f"rules: no source is called {', '.join(missing)}; there are {', '.join(names)}")


def add_step_options(group: argparse._ArgumentGroup) -> None:
    """Classes, smoothing, tracking, rules."""
    add = group.add_argument
    classes_help = (
        "keep only these labels, each with a lowest score if given: person,car=0.6 (other pixels become void)"
    )
    add("--classes", metavar="LABEL,...", type=_labels, help=classes_help)
    track_help = (
        f"follow objects: an id for each, kept for SECONDS while it is not seen (default {KEEP_LOST_S:g}); objects are "
        "shown from their second frame on"
    )
    add("--track", metavar="SECONDS", type=seconds, nargs="?", const=KEEP_LOST_S, help=track_help)
    smooth_help = (
        f"classification: average over about SECONDS (default {SMOOTH_S:g}), so that the label does not flicker"
    )
    add("--smooth", metavar="SECONDS", type=_positive_seconds, nargs="?", const=SMOOTH_S, help=smooth_help)
    rules_help = "YAML file of lines, zones and conditions that give events (see rules.example.yaml); needs pyyaml"
    add("--rules", metavar="FILE", type=Path, help=rules_help)
    add(
        "--mask-opacity",
        metavar="P",
        type=fraction,
        help="segmentation: how strongly colours cover the picture, 0 to 1",
    )


def usual_score(options: argparse.Namespace, spec: PostprocessSpec) -> float:
    """From which score on an object counts: what the user says, or the bundle."""
    score: float = spec.score_threshold if options.score_threshold is None else options.score_threshold
    return score


def lowest_score(options: argparse.Namespace, spec: PostprocessSpec) -> float:
    """From which score on the model must tell what it sees: a tracker also uses what is unsure.

    Args:
        options: with `score_threshold`, `classes` and `track`.
        spec: of the bundle, with its usual threshold.
    """
    usual = usual_score(options, spec)
    scores: list[float] = [usual, *(score for score in (options.classes or {}).values() if score is not None)]
    return min(scores) if options.track is None else min(*scores, LOWEST_SCORE)


def plan_steps(options: argparse.Namespace, manifest: Manifest) -> StepPlan:
    """What the options ask for, held against the model.

    Args:
        options: with `classes`, `track`, `smooth`, `rules`, `mask_opacity` and `score_threshold`.
        manifest: of the bundle.

    Raises:
        UsageError: an option is for another task, a label is unknown, or rules about objects come without --track.
        RulesError: the rules file is wrong.
    """
    from cvforge_edge.types import Task

    task = manifest.task
    wanted = (
        ("--track", options.track, (Task.DETECTION,)),
        ("--smooth", options.smooth, (Task.CLASSIFICATION,)),
        ("--classes", options.classes, (Task.DETECTION, Task.SEGMENTATION)),
        ("--mask-opacity", options.mask_opacity, (Task.SEGMENTATION,)),
    )
    for option, value, tasks in wanted:
        if value is not None and task not in tasks:
            names = " and ".join(one.value for one in tasks)
            raise UsageError(f"{option}: is for {names}, but {manifest.name} does {task.value}; leave it out")
    rules = None
    if options.rules is not None:
        from cvforge_edge.rules.read import read_rules

        if task is Task.DETECTION and options.track is None:
            raise UsageError("--rules: rules for detection are about objects that are followed; add --track")
        rules = read_rules(options.rules, task=task, labels=manifest.labels)
    return StepPlan(
        task=task,
        score_threshold=usual_score(options, manifest.postprocess),
        classes=_class_ids(options.classes, manifest.labels),
        keep_lost_s=options.track,
        smooth_s=options.smooth,
        rules=rules,
        mask_opacity=options.mask_opacity,
    )


def _class_ids(classes: dict[str, float | None] | None, labels: Sequence[str]) -> dict[int, float | None] | None:
    if classes is None:
        return None
    unknown = [name for name in classes if name not in labels]
    if unknown:
        from difflib import get_close_matches  # only needed for a message

        near = [match for name in unknown for match in get_close_matches(name, labels, n=1)]
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        listed = ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
        raise UsageError(f"--classes: found {', '.join(unknown)}{hint} The model knows {listed}")
    return {labels.index(name): score for name, score in classes.items()}


def _labels(text: str) -> dict[str, float | None]:
    """Labels and their lowest scores, as in `person,car=0.6`."""
    found: dict[str, float | None] = {}
    for part in text.split(","):
        name, equals, score = part.rpartition("=")
        label = (name if equals else part).strip()
        if not label or label in found:
            raise argparse.ArgumentTypeError(f"found {text!r}, accepted different labels with commas between them")
        found[label] = fraction(score) if equals else None
    return found


def _positive_seconds(text: str) -> float:
    value = seconds(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted seconds above 0")
    return value
