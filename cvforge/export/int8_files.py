"""The int8 files of an export: quantised, scored, and mended until they keep their budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvforge.export.formats import FORMATS, INT8
from cvforge.export.int8 import Int8Search, write_within_budget
from cvforge.export.judge import Judge
from cvforge.export.source import file_name
from cvforge.export.verify import Verdict

UNSCORED = float("inf")


@dataclass(frozen=True)
class Int8File:
    """One int8 file with what was measured on it and how it was found."""

    verdict: Verdict
    search: Int8Search


def make_int8(name: str, source: Path, *, calibration: Sequence[np.ndarray], scratch: Path, judge: Judge) -> Int8File:
    """The int8 file of one format, within its budget where that can be reached.

    Args:
        name: in `FORMATS`.
        source: the fp32 file.
        calibration: prepared training images (h, w, 3) uint8.
        scratch: an existing folder for intermediate files.
        judge: of the export; its folder gets the file.
    """
    folder = scratch / name
    folder.mkdir()
    judge.stages(f"measure ranges for {name} int8 on {len(calibration)} training images")
    quantiser = FORMATS[name].quantiser(source, calibration, folder)
    reference = judge.reference
    verdicts: list[Verdict] = []

    def loss() -> float:
        verdicts.append(judge.verdict(name, INT8))
        if reference.primary is None:
            return 0.0  # without truth nothing can be seen to be lost, so no layer goes back
        found = verdicts[-1].metrics.get(reference.primary)
        return UNSCORED if found is None else reference.metrics[reference.primary] - found

    search = write_within_budget(
        quantiser,
        judge.draft / file_name(name, INT8),
        loss=loss,
        budget=judge.plan.metric_budget[INT8],
        max_float_layers=judge.plan.max_float_layers,
    )
    kept = verdicts[search.trials.index(search.best)]
    return Int8File(replace(kept, float_layers=search.float_layers), search)


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
    """Path of each file to every trial and the noise of every layer: plain JSON for what lies beside a bundle."""
    return {
        file.verdict.model.path: {
            "trials": [
                {"float_layers": list(trial.float_layers), "loss": round(trial.loss, 6)} for trial in file.search.trials
            ],
            "noise": [vars(layer) for layer in file.search.noise],
        }
        for file in files
    }
