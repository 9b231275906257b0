"""Int8 TFLite files of a float one; the quantiser runs in a process of its own, as the converter does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvforge.export.noise import LayerNoise
from cvforge.export.worker import run_worker

WORKER = "cvforge.export.tflite_int8_worker"
NOISE_IMAGES = 4
BIAS_IMAGES = 32


class TFLiteQuantiser:
    """Static int8 with one scale for each channel of the weights, true ranges, and float input and outputs.

    What follows the last weights (decoding of boxes, probabilities) stays in float: it costs nothing, and coordinates
    on 256 steps of a 320-pixel image lost 0.01 mAP50-95 on BCCD.

    Args:
        source: the fp32 file.
        inputs_u8: prepared calibration images (h, w, 3) uint8.
        scratch: an existing folder for intermediate files.

    Raises:
        ExportError: the quantiser failed; its last lines are in the message.
    """

    def __init__(self, source: Path, inputs_u8: Sequence[np.ndarray], scratch: Path) -> None:
        self._source = source
        self._ranges, self._inputs = scratch / "ranges.json", scratch / "inputs.npy"
        self._noise = scratch / "noise.json"
        np.save(self._inputs, np.stack(inputs_u8))
        self._few = self._save(scratch / "few.npy", inputs_u8, NOISE_IMAGES)
        self._some = self._save(scratch / "some.npy", inputs_u8, BIAS_IMAGES)
        run_worker("tflite int8", WORKER, ["calibrate", str(source), str(self._inputs), str(self._ranges)])

    @staticmethod
    def _save(path: Path, inputs_u8: Sequence[np.ndarray], count: int) -> Path:
        """Some of the calibration images, spread over all of them."""
        chosen = np.linspace(0, len(inputs_u8) - 1, min(count, len(inputs_u8))).round().astype(int)
        np.save(path, np.stack([inputs_u8[index] for index in chosen]))
        return path

    def write(self, target: Path, *, float_layers: Sequence[str] = ()) -> None:
        """Write the int8 file; the same ranges give the same bytes.

        Args:
            target: the file.
            float_layers: names of layers (`LayerNoise.name`) that stay in float.
        """
        arguments = ["quantise", str(self._source), str(self._ranges), str(self._some), str(target), *float_layers]
        run_worker("tflite int8", WORKER, arguments)

    def noise(self, int8: Path) -> list[LayerNoise]:
        """The noise of every layer of an int8 file that `write` made, worst first."""
        arguments = ["noise", str(self._source), str(int8), str(self._few), str(self._noise)]
        run_worker("tflite int8", WORKER, arguments)
        return [LayerNoise(**row) for row in json.loads(self._noise.read_text(encoding="utf-8"))]
