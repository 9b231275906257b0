"""Answers images with a SavedModel until its input ends: `python -m cvforge.export.savedmodel.run_worker FOLDER`."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from cvforge.export.savedmodel.messages import receive, send

IMAGE, ERROR = "image", "error"


def main(folder: str) -> None:
    """Send one message when the model is loaded, then one for every image: outputs by name, or the text of an error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the messages
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        model = tf.saved_model.load(folder)
        serve = model.signatures["serving_default"]
    except Exception as error:  # its errors share no base class
        send(answers, _text(error))
        return
    send(answers, {})
    while (message := receive(sys.stdin.buffer)) is not None:
        try:
            found = {name: tensor.numpy() for name, tensor in serve(image=tf.constant(message[IMAGE])).items()}
        except Exception as error:  # as above
            found = _text(error)
        send(answers, found)


def _text(error: Exception) -> dict[str, np.ndarray[Any, Any]]:
    return {ERROR: np.array(f"{type(error).__name__}: {error}")}


if __name__ == "__main__":
    main(sys.argv[1])
