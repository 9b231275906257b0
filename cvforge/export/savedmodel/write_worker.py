"""Writes a SavedModel of a TFLite file: `python -m cvforge.export.savedmodel.write_worker TFLITE FOLDER REPORT`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cvforge.export.savedmodel.tflite_function import TFLiteFunction

BATCHED, ONE_BY_ONE = "batched", "one by one"
CHECKED_IMAGES = 3
TOLERANCE = 1e-4
"""Of an output's range: how far a batch may differ from its images one at a time; rounding is a hundred times less."""
MIN_RANGE = 1e-2
Images = Callable[[Any], dict[str, Any]]


def main(arguments: list[str]) -> None:
    """Write the folder of the second argument and, as JSON in the third, how it was made."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        network = TFLiteFunction(Path(arguments[0]))
    except NotImplementedError as error:
        raise SystemExit(str(error)) from None
    batch, served = _served(network)
    module = tf.Module()
    module.serve = served
    folder = Path(arguments[1])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": served})
    _make_reproducible(folder)
    report = {"batch": batch, "tensorflow": tf.__version__}
    Path(arguments[2]).write_text(json.dumps(report), encoding="utf-8")


def _served(network: TFLiteFunction) -> tuple[str, Images]:
    """How batches are computed, and the function that does it: all images at once where that gives the same answers."""
    one_by_one = _as_function(network, lambda images: _mapped(network, images))
    try:
        batched = _as_function(network, lambda images: network(images, open_batch=True))
        if _agree(batched, one_by_one, network.size_hw):
            return BATCHED, batched
    except (ValueError, tf.errors.InvalidArgumentError):  # shapes that fit one image only
        pass
    return ONE_BY_ONE, one_by_one


def _as_function(network: TFLiteFunction, body: Images) -> Images:
    def serve(image: Any) -> dict[str, Any]:
        found = body(image)
        return {name: tf.identity(found[name], name=name) for name in network.outputs}

    spec = tf.TensorSpec((None, *network.size_hw, 3), tf.uint8, name="image")
    function = tf.function(serve, input_signature=[spec], autograph=False)
    function.get_concrete_function()  # so that what cannot be written fails here
    return function


def _mapped(network: TFLiteFunction, images: Any) -> dict[str, Any]:
    def answer(image: Any) -> dict[str, Any]:
        return {name: found[0] for name, found in network(image[None], open_batch=False).items()}

    return tf.map_fn(answer, images, fn_output_signature=dict(network.outputs))  # type: ignore[no-any-return]


def _agree(batched: Images, one_by_one: Images, size_hw: tuple[int, int]) -> bool:
    images = np.random.default_rng(0).integers(0, 256, (CHECKED_IMAGES, *size_hw, 3)).astype(np.uint8)
    expected, found = one_by_one(tf.constant(images)), batched(tf.constant(images))
    for name, reference in expected.items():
        first, second = reference.numpy(), found[name].numpy()
        if first.shape != second.shape or np.abs(first - second).max() > TOLERANCE * max(np.ptp(first), MIN_RANGE):
            return False
    return True


def _make_reproducible(folder: Path) -> None:
    """Write the graph with its maps in order, and drop the fingerprint, which holds a random number; readers need none."""
    graph = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    graph.write_bytes(model.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    if not any((folder / "assets").iterdir()):
        (folder / "assets").rmdir()


if __name__ == "__main__":
    os.umask(0o022)
    main(sys.argv[1:])
