"""The int8 files of an export: quantised, scored, and mended until they keep their budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvforge.export.formats import FORMATS, INT8
from cvforge.export.int8 import Int8Search, write_within_budget
from cvforge.export.plan import ExportPlan
from cvforge.export.source import file_name
from cvforge.export.stages import Stages
from cvforge.export.verify import Reference, Scoring, Verdict, judge
from cvforge_edge.backends import open_backend
from cvforge_edge.bundle import describe_model
from cvforge_edge.predictor import Predictor

UNSCORED = float("inf")


@dataclass(frozen=True)
class Int8File:
    """One int8 file with what was measured on it and how it was found."""

    verdict: Verdict
    search: Int8Search


@dataclass(frozen=True)
class Int8Maker:
    """Makes the int8 file of any format of one export.

    Attributes:
        plan: budget and limits.
        calibration: prepared training images (h, w, 3) uint8.
        scratch: an existing folder for intermediate files.
        draft: the folder that the files go to.
    """

    plan: ExportPlan
    calibration: Sequence[np.ndarray]
    scratch: Path
    draft: Path

    def make(self, name: str, source: Path, *, reference: Reference, scoring: Scoring, stages: Stages) -> Int8File:
        """The int8 file of one format, within its budget where that can be reached.

        Args:
            name: in `FORMATS`.
            source: the fp32 file.
            reference: the checkpoint.
            scoring: the same as for the checkpoint.
            stages: shows progress.
        """
        folder = self.scratch / name
        folder.mkdir()
        stages(f"measure ranges for {name} int8 on {len(self.calibration)} training images")
        quantiser = FORMATS[name].quantiser(source, self.calibration, folder)
        target = self.draft / file_name(name, INT8)
        verdicts: list[Verdict] = []

        def loss_of(path: Path) -> float:
            verdicts.append(self._judge(name, path, reference=reference, scoring=scoring, stages=stages))
            if reference.primary is None:
                return 0.0  # without truth nothing can be seen to be lost, so no layer goes back
            found = verdicts[-1].metrics.get(reference.primary)
            return UNSCORED if found is None else reference.metrics[reference.primary] - found

        search = write_within_budget(
            quantiser,
            target,
            loss_of=loss_of,
            budget=self.plan.metric_budget[INT8],
            max_float_layers=self.plan.max_float_layers,
        )
        return Int8File(replace(verdicts[-1], float_layers=search.float_layers), search)

    def _judge(self, name: str, path: Path, *, reference: Reference, scoring: Scoring, stages: Stages) -> Verdict:
        model = describe_model(self.draft, path.name, format=name, precision=INT8)
        backend = open_backend(FORMATS[name].runtime, path, threads=1)
        with Predictor(backend, self.plan.manifest()) as predictor:
            progress = stages(f"score {path.name}")
            return judge(model, predictor, reference=reference, scoring=scoring, progress=progress)


def int8_provenance(files: Sequence[Int8File], calibration_images: int) -> Mapping[str, object]:
    """What a manifest says about how its int8 files were made; empty without any."""
    if not files:
        return {}
    return {
        INT8: {
            "calibration_images": calibration_images,
            "float_layers": {file.verdict.model.path: list(file.search.float_layers) for file in files},
        }
    }


def int8_measurements(files: Sequence[Int8File]) -> Mapping[str, object]:
    """Every trial and the noise of every layer, for the file of measurements beside a bundle."""
    return {
        INT8: {
            file.verdict.model.path: {
                "trials": [
                    {"float_layers": list(trial.float_layers), "loss": round(trial.loss, 6)}
                    for trial in file.search.trials
                ],
                "noise": [vars(layer) for layer in file.search.noise],
            }
            for file in files
        }
    }
