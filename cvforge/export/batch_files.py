"""The files of an export that take any number of images at once: judged alone, in company, and all images together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.export.formats import BATCH_FORMAT, FORMATS, INT8
from cvforge.export.int8_files import Int8File
from cvforge.export.judge import Judge
from cvforge.export.parity import RawOutputs, output_noise, relative_errors
from cvforge.export.source import file_name, float_path, float_precisions
from cvforge.export.verify import Reference, Verdict
from cvforge.export.verify import judge as judge_file
from cvforge_edge.backends import Backend
from cvforge_edge.bundle import describe_model
from cvforge_edge.errors import BackendError
from cvforge_edge.predictor import Predictor


class InCompany:
    """Runs each image in one batch with the image before it and gives its own row: rows that mix show in every score.

    Implements `cvforge_edge.backends.Backend`. The image is the first and the second of the batch by turns.

    Args:
        backend: a model of the batch form.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._neighbour: npt.NDArray[np.uint8] | None = None
        self._row = 0

    def run(self, image_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by tensor name, with the batch axis, for an input (1, h, w, 3) uint8."""
        neighbour = 255 - image_u8 if self._neighbour is None else self._neighbour
        self._neighbour, self._row = image_u8.copy(), 1 - self._row
        pair = (neighbour, image_u8) if self._row else (image_u8, neighbour)
        tensors = self._backend.run(np.concatenate(pair))
        return {name: tensor[self._row : self._row + 1] for name, tensor in tensors.items()}

    def close(self) -> None:
        """Free the model."""
        self._backend.close()


def judge_batch_files(
    judge: Judge, *, scratch: Path, calibration: Sequence[np.ndarray], int8: Sequence[Int8File]
) -> list[Verdict]:
    """A verdict for each file of the batch form; none where the plan asks for none.

    An int8 file is made of the float one of the batch form, with the float layers that its twin for devices needed.

    Args:
        judge: of the export; float files lie where `float_path` says.
        scratch: an existing folder for intermediate files.
        calibration: prepared training images (h, w, 3) uint8.
        int8: the int8 files for devices.
    """
    if not judge.plan.batch:
        return []
    verdicts = [_verdict(judge, precision) for precision in float_precisions(judge.plan)]
    for twin in int8:
        if twin.verdict.model.format != BATCH_FORMAT:
            continue
        judge.stages(f"measure ranges for {BATCH_FORMAT} int8, batch form")
        folder = scratch / f"{BATCH_FORMAT}-batch"
        folder.mkdir()
        source = float_path(BATCH_FORMAT, "fp32", plan=judge.plan, draft=judge.draft, scratch=scratch, batch=True)
        layers = twin.search.float_layers
        target = judge.draft / file_name(BATCH_FORMAT, INT8, batch=True)
        FORMATS[BATCH_FORMAT].quantiser(source, calibration, folder).write(target, float_layers=layers)
        verdicts.append(replace(_verdict(judge, INT8), float_layers=layers))
    return verdicts


def _verdict(judge: Judge, precision: str) -> Verdict:
    """Scores in company, and the worst error of a raw output in any company."""
    name = file_name(BATCH_FORMAT, precision, batch=True)
    model = describe_model(judge.draft, name, format=BATCH_FORMAT, precision=precision, batch=True)
    reference = judge.reference
    with judge.load(model) as predictor:
        progress = judge.stages(f"score {model.path}")
        company = Predictor(InCompany(predictor.backend), predictor.manifest)
        verdict = judge_file(model, company, reference=reference, scoring=judge.scoring, progress=progress)
        if verdict.failure is not None:
            return verdict
        try:
            runs = [batch_rows(reference, predictor, images=n) for n in (1, len(reference.inputs_u8))]
        except BackendError as error:
            return replace(verdict, failure=str(error))
    errors = [relative_errors(reference.raw_outputs, rows) for rows in runs]
    noises = [output_noise(reference.raw_outputs, rows) for rows in runs]
    return replace(verdict, parity=_highest(verdict.parity, *errors), noise=_highest(verdict.noise, *noises))


def _highest(*measured: Mapping[str, float]) -> dict[str, float]:
    return {role: max(one[role] for one in measured) for role in measured[0]}


def batch_rows(reference: Reference, predictor: Predictor, *, images: int) -> list[RawOutputs]:
    """Raw outputs by role of each input of the reference, run with `images` of them at a time.

    Raises:
        BackendError: the model does not take so many.
    """
    rows: list[RawOutputs] = []
    for start in range(0, len(reference.inputs_u8), images):
        inputs_u8 = np.stack(reference.inputs_u8[start : start + images])
        tensors = predictor.backend.run(inputs_u8)
        rows += [_row(tensors, predictor.manifest.outputs, number) for number in range(len(inputs_u8))]
    return rows


def _row(tensors: Mapping[str, npt.NDArray[Any]], names: Mapping[str, str], number: int) -> dict[str, npt.NDArray[Any]]:
    """The outputs of one image by role; empty where a tensor has too few rows."""
    return {role: tensors[name][number] if number < len(tensors[name]) else np.empty(0) for role, name in names.items()}
