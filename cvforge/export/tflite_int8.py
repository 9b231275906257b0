"""Int8 TFLite files of a float one; the quantiser runs in a process of its own, as the converter does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvforge.export.noise import LayerNoise, noise_images
from cvforge.export.worker import run_worker

WORKER = "cvforge.export.tflite_int8_worker"


class TFLiteQuantiser:
    """Static int8 with one scale for each channel of the weights, true ranges, and float input and outputs.

    What follows the last weights (decoding of boxes, probabilities) stays in float: it costs nothing, and coordinates
    on 256 steps of a 320-pixel image lost 0.01 mAP50-95 on BCCD. So do the layers of `entry_layers` and all
    that lies before them. Weights are rounded by `cvforge.export.rounding`.

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
        self._few = scratch / "few.npy"
        np.save(self._few, np.stack(noise_images(inputs_u8)))
        self._rounded = scratch / "rounded.npz"
        run_worker("tflite int8", WORKER, ["calibrate", str(source), str(self._inputs), str(self._ranges)])
        run_worker("tflite int8", WORKER, ["round", str(source), str(self._inputs), str(self._rounded)])

    def write(self, target: Path, *, float_layers: Sequence[str] = ()) -> None:
        """Write the int8 file; the same ranges give the same bytes.

        Args:
            target: the file.
            float_layers: names of layers (`LayerNoise.name`) that stay in float.
        """
        files = (self._source, self._ranges, self._rounded, target)
        run_worker("tflite int8", WORKER, ["quantise", *map(str, files), *float_layers])

    def noise(self, int8: Path) -> list[LayerNoise]:
        """The noise of every layer of an int8 file that `write` made, worst first."""
        arguments = ["noise", str(self._source), str(int8), str(self._few), str(self._noise)]
        run_worker("tflite int8", WORKER, arguments)
        return [LayerNoise(**row) for row in json.loads(self._noise.read_text(encoding="utf-8"))]
