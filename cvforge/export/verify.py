"""The verdict on an exported file: its raw outputs and its score on the task's metric against the checkpoint's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cvforge.errors import ExportBudgetError
from cvforge.evaluation import LabelledImages, Metric, PredictsImages, evaluate, spread_indices
from cvforge.export.advice import conversion_advice, metric_advice, parity_advice
from cvforge.export.agreement.agreement import Agreement
from cvforge.export.agreement.comparison import ComparingPredictor
from cvforge.export.budget import within_budget
from cvforge.export.parity import BOXES, RawOutputs, collect_raw_outputs, output_noise, relative_errors
from cvforge.export.reference import ClassEvidence
from cvforge.metrics.bootstrap import Values, percentile_interval, resampled_scores
from cvforge_edge.errors import BackendError, SpecError
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import Prediction

CLASSES_SHOWN = 5


@dataclass(frozen=True)
class Reference:
    """What the checkpoint says and scores; every file is held against it.

    Attributes:
        inputs_u8: prepared inputs (h, w, 3) uint8 on which raw outputs are compared.
        raw_outputs: the checkpoint's raw outputs by role, one entry an input.
        metrics: the checkpoint's scores; empty where the images have no truth.
        primary: name in `metrics` that the budget counts in; None where there are none.
        latency_ms: median time of one image, one thread; files are timed in processes of their own.
        resamples: the primary score on resampled sets of the images; None where there are too few images.
        statistics: what devices compare their own images and predictions with.
        evidence: how much truth of each class was scored.
        answers: what it says about each image, in their order; see `ComparingPredictor`.
    """

    inputs_u8: Sequence[npt.NDArray[np.uint8]]
    raw_outputs: Sequence[RawOutputs]
    metrics: Mapping[str, float]
    primary: str | None
    latency_ms: float
    resamples: Values | None = None
    statistics: Statistics | None = None
    evidence: ClassEvidence | None = None
    answers: Iterable[Prediction] = ()

    @property
    def interval(self) -> ScoreInterval | None:
        """Where the checkpoint's primary score lies."""
        return percentile_interval(self.resamples)


@dataclass(frozen=True)
class Scoring:
    """On what, and how, a model is scored.

    Attributes:
        dataset: images and truth.
        metric: the task's metric; None for images without truth, on which only outputs are compared.
        postprocess: thresholds of scoring.
        limit: number of images, spread over the data set; None for all.
    """

    dataset: LabelledImages
    metric: Metric | None
    postprocess: PostprocessSpec
    limit: int | None = None

    def score(self, predictor: PredictsImages, *, progress: Callable[[int, int], None] | None) -> dict[str, float]:
        """All metrics of what predicts with the thresholds of scoring; it runs on all images where there is no metric, too."""
        if self.metric is not None:
            return evaluate(predictor, self.dataset, self.metric, progress=progress, limit=self.limit)
        indices = spread_indices(len(self.dataset), self.limit)
        for done, index in enumerate(indices, start=1):
            predictor.predict(self.dataset[index].image_bgr)
            if progress is not None:
                progress(done, len(indices))
        return {}

    def resamples(self) -> Values | None:
        """The primary score of the model that was scored last, on resampled sets of the images: the same sets each time."""
        return resampled_scores(self.metric)


class ExportedModel(Protocol):
    """What a verdict is about: a model file of a bundle (`cvforge_edge.manifest.ModelFile`), or a SavedModel."""

    @property
    def path(self) -> str:
        """Its name."""

    @property
    def format(self) -> str:
        """In which it is written."""

    @property
    def precision(self) -> str:
        """Decides on its budget."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""


@dataclass(frozen=True)
class Verdict:
    """What was measured on one exported file.

    Attributes:
        model: the file.
        parity: role -> worst error, as a fraction of the output's range; see `relative_errors`.
        metrics: its scores; empty when it could not be scored.
        failure: why it could not be scored, or None.
        float_layers: of an int8 file: layers that stayed in float.
        interval: where its primary score lies, or None.
        difference: where its primary score minus the checkpoint's on the same images lies, or None.
        agreement: how far what it reports is what the checkpoint reports; None when it could not be run on all images.
        noise: role -> root mean square error, as a fraction of the output's spread; see `output_noise`.
    """

    model: ExportedModel
    parity: Mapping[str, float]
    metrics: Mapping[str, float]
    failure: str | None = None
    float_layers: tuple[str, ...] = ()
    interval: ScoreInterval | None = None
    difference: ScoreInterval | None = None
    agreement: Agreement | None = None
    noise: Mapping[str, float] = field(default_factory=dict)


def judge(
    model: ExportedModel,
    predictor: Predictor,
    *,
    reference: Reference,
    scoring: Scoring,
    progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Measure one exported file in its real runtime; whether that is enough, `require_budget` says.

    Args:
        model: the file.
        predictor: the file, loaded by the runtime that the device uses, one thread.
        reference: the checkpoint's outputs and scores.
        scoring: the same as for the checkpoint.
        progress: told after each scored image.
    """
    failure, metrics, parity = None, {}, dict.fromkeys(reference.raw_outputs[0], float("inf"))
    noise = parity
    interval, difference, agreement = None, None, None
    try:
        raw_outputs = collect_raw_outputs(predictor, reference.inputs_u8)
        parity = relative_errors(reference.raw_outputs, raw_outputs)
        noise = output_noise(reference.raw_outputs, raw_outputs)
        comparing = ComparingPredictor(predictor, scoring.postprocess, reference.answers)
        metrics = scoring.score(comparing, progress=progress)
        agreement = comparing.agreement()
        resamples = scoring.resamples()
        interval = percentile_interval(resamples)
        if resamples is not None and reference.resamples is not None:
            difference = percentile_interval(resamples - reference.resamples)
    except (SpecError, BackendError) as error:  # outputs that cannot be read are a verdict, not a mistake of the user
        failure = str(error)
    return Verdict(
        model, parity, metrics, failure, interval=interval, difference=difference, agreement=agreement, noise=noise
    )


def require_budget(
    verdicts: Sequence[Verdict],
    reference: Reference,
    *,
    metric_budget: Mapping[str, float],
    tensor_tolerance: Mapping[str, float],
    tensor_peak: Mapping[str, float],
    made: str = "bundle",
) -> None:
    """Stop unless every file is good enough; only losses count.

    Args:
        verdicts: one a file.
        reference: the checkpoint.
        metric_budget: precision -> how much of the primary metric may be lost.
        tensor_tolerance: precision -> how much noise an output may have.
        tensor_peak: precision -> largest error of an output, as a fraction of its range.
        made: what is not written then.

    Raises:
        ExportBudgetError: a file is not; the message names every such file, by how much, and the classes that lost most.
    """
    problems: list[str] = []
    wrong_conversions = set()
    for verdict in sorted(verdicts, key=lambda verdict: verdict.model.precision != "fp32"):
        model = verdict.model
        parity = _parity_problems(
            verdict, tolerance=tensor_tolerance[model.precision], peak=tensor_peak[model.precision]
        )
        score = _metric_problems(verdict, reference, metric_budget[model.precision])
        if not parity + score:
            continue
        if model.precision == "fp32":
            wrong_conversions.add(model.format)
        lines = [*parity, *score, *_changes(verdict)]
        if model.format in wrong_conversions:
            lines.append(conversion_advice())
        else:
            lines += [parity_advice(model.precision, score_holds=not score)] * bool(parity)
            lines += [_metric_advice(verdict)] * bool(score)
        problems += [f"{model.path}:", *(f"  {line}" for line in lines)]
    if problems:
        raise ExportBudgetError("\n".join([f"export over budget; no {made} was written", *problems]))


def _metric_advice(verdict: Verdict) -> str:
    explained = verdict.agreement is not None and verdict.agreement.hint() is not None
    return metric_advice(verdict.model.precision, float_layers=len(verdict.float_layers), explained=explained)


def _changes(verdict: Verdict) -> list[str]:
    """What is other than in the checkpoint, and where that points to."""
    if verdict.agreement is None:
        return []
    hint = verdict.agreement.hint()
    return [f"what changed: {verdict.agreement.summary()}", *([hint] if hint is not None else [])]


def _parity_problems(verdict: Verdict, *, tolerance: float, peak: float) -> list[str]:
    problems = [
        f"output {role!r} is off by {noise:.2g} of {_unit(role)} from the checkpoint (root mean square), tolerance "
        f"{tolerance:g} (export.tensor_tolerance)"
        for role, noise in verdict.noise.items()
        if noise > tolerance
    ]
    return problems + [
        f"output {role!r} differs by {error:.2g} of its range from the checkpoint in one value, accepted {peak:g} "
        "(export.tensor_peak)"
        for role, error in verdict.parity.items()
        if error > peak
    ]


def _unit(role: str) -> str:
    return "a tenth of the sides of its boxes" if role == BOXES else "its spread"


def _metric_problems(verdict: Verdict, reference: Reference, budget: float) -> list[str]:
    if verdict.failure is not None:
        return [f"it cannot be scored: {verdict.failure}"]
    primary = reference.primary
    if primary is None:
        return []
    expected, found = reference.metrics[primary], verdict.metrics[primary]
    loss = expected - found
    if within_budget(loss, budget):
        return []
    lines = [
        f"{primary} {found:.4f}, the checkpoint has {expected:.4f}: {loss:.4f} lost, budget {budget:g} "
        f"(export.metric_budget), over by {loss - budget:.4f}"
    ]
    losses = class_losses(reference.metrics, verdict.metrics)
    if losses:
        shown = ", ".join(f"{name} -{lost:.4f}" for name, lost in losses[:CLASSES_SHOWN])
        lines.append(f"classes that lost most: {shown}")
    return lines


def class_losses(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Class names and what each lost, largest first, from metrics named `<metric>/<class>`; gains are left out."""
    losses = [(name.partition("/")[2], value - found.get(name, 0.0)) for name, value in expected.items() if "/" in name]
    return sorted(((name, lost) for name, lost in losses if lost > 0), key=lambda item: -item[1])
