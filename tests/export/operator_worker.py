"""Answers of TensorFlow for TFLite files, in a process without torch: `python operator_worker.py FOLDER`.

Reads `images.npy` and `*.tflite` of the folder; writes the answers for all images together and one by one, and the names
of the operators that have a TensorFlow form.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from cvforge.export.savedmodel.operators import OPERATORS
from cvforge.export.savedmodel.tflite_function import TFLiteFunction

folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
for path in sorted(folder.glob("*.tflite")):
    network = TFLiteFunction(path)
    together = tf.function(lambda x, run=network: run(x, open_batch=True), autograph=False)(tf.constant(images))
    single = [network(tf.constant(image[None]), open_batch=False) for image in images]
    np.savez(
        path.with_suffix(".npz"),
        together=together["y"].numpy(),
        single=np.concatenate([answer["y"].numpy() for answer in single]),
    )
(folder / "operators.json").write_text(json.dumps(sorted(OPERATORS)))
