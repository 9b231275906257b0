"""What an export is to make, and what it may lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cvforge.config.schema import ExportSection
from cvforge.errors import ConfigError
from cvforge.export.formats import BATCH_FORMAT, FORMATS, PRECISIONS
from cvforge.export.wrap import GraphSpec
from cvforge_edge.manifest import Manifest
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Task


@dataclass(frozen=True)
class ExportPlan:
    """Everything about an export except the network and the images.

    Attributes:
        name: of the model on the device.
        task: what it predicts.
        labels: class names in the order of the scores.
        preprocess: what an image becomes before the network.
        postprocess: what raw outputs become on the device.
        formats: names in `FORMATS`.
        precisions: names in `PRECISIONS`.
        metric_budget: precision -> how much of the primary metric may be lost.
        tensor_tolerance: precision -> how much noise an output may have; see `cvforge.export.parity.output_noise`.
        golden_images: how many images travel in the bundle.
        split: which part of the data the files are scored on.
        data_fingerprint: of that part.
        run_id: training run that the network comes from.
        provenance: config hash, commit, versions; plain JSON without paths of this machine.
        version: grows with every release of `name`.
        card_sections: further sections of the model card, in Markdown.
        max_float_layers: how many layers of an int8 file may go back to float while it misses its budget.
        intended_use: for what, by whom and where, in the words of the makers; None where they say nothing.
        batch: whether servers get files of their own, which take any number of images at once.
        embedding: layer of the network whose features become the output `embedding`; None for files without.
        tensor_peak: precision -> largest single error of an output; see `cvforge.export.parity.relative_errors`.
        config_limits: the limits that the run's own config states, by name and precision, before changes on the command
            line; empty without a run.

    Raises:
        ConfigError: unknown or missing names, or numbers out of range; the message lists every problem.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    postprocess: PostprocessSpec
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    metric_budget: Mapping[str, float]
    tensor_tolerance: Mapping[str, float]
    golden_images: int
    split: str
    data_fingerprint: str
    run_id: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    card_sections: tuple[str, ...] = ()
    max_float_layers: int = 0
    intended_use: str | None = None
    batch: bool = False
    embedding: str | None = None
    tensor_peak: Mapping[str, float] = field(default_factory=lambda: ExportSection().tensor_peak)
    config_limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = _name_problems("format", self.formats, tuple(FORMATS))
        problems += _name_problems("precision", self.precisions, PRECISIONS)
        for key in ("metric_budget", "tensor_tolerance", "tensor_peak"):
            table = getattr(self, key)
            problems += [
                f"export.{key}.{precision}: found {table.get(precision)!r}, expected a number of at least 0"
                for precision in self.precisions
                if not isinstance(table.get(precision), (int, float)) or not table[precision] >= 0
            ]
        if self.batch and BATCH_FORMAT not in self.formats:
            found = ", ".join(self.formats) or "none"
            problems.append(
                f"export.batch: only {BATCH_FORMAT} has a batch form, found formats {found}; add {BATCH_FORMAT} or leave "
                "--batch away"
            )
        if self.golden_images < 1:
            problems.append(f"export.golden_images: found {self.golden_images}, expected at least 1")
        if problems:
            raise ConfigError("export: " + "; ".join(problems))

    @property
    def graph(self) -> GraphSpec:
        """What the network's graph must look like."""
        return GraphSpec(self.task, self.preprocess.size_hw, len(self.labels), self.embedding)

    def manifest(self) -> Manifest:
        """The manifest before there are files: enough to run the checkpoint or a file as the device would."""
        return Manifest(
            name=self.name,
            version=self.version,
            task=self.task,
            labels=self.labels,
            preprocess=self.preprocess,
            outputs={role: role for role in self.graph.roles},
            postprocess=self.postprocess,
            provenance=self.provenance,
        )


def _name_problems(what: str, found: tuple[str, ...], accepted: tuple[str, ...]) -> list[str]:
    if not found:
        return [f"no {what} given; accepted {', '.join(accepted)}"]
    problems = [f"{what} {name!r} is unknown; accepted {', '.join(accepted)}" for name in found if name not in accepted]
    return problems + [f"{what} {name!r} is given twice" for name in sorted(set(found)) if found.count(name) > 1]
