"""What the self-test says to one precision of a bundle, and how far outputs are off; run on the device, in its folder.

    python selftest_figures.py BUNDLE PRECISION      # one line of JSON: "backend" (null: refused), "errors", "wrong"

`errors` are the largest and the largest mean error of the backend that passed, as fractions of the output's range;
`wrong` those of the preferred backend where that one did not pass.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from cvforge_edge.backends import open_backend
from cvforge_edge.bundle import Bundle, open_bundle
from cvforge_edge.errors import SelfTestError
from cvforge_edge.golden import GOLDEN_FOLDER, read_golden
from cvforge_edge.predictor import Predictor, choose_model
from cvforge_edge.selftest import run_self_test


def main(folder: str, precision: str) -> None:
    """Print the line."""
    bundle = open_bundle(folder)
    asked = choose_model(bundle, backend=None, precision=precision)[1]
    try:
        report = run_self_test(bundle, precision=precision)
    except SelfTestError as error:
        print(error, file=sys.stderr)
        print(json.dumps({"backend": None, "errors": None, "wrong": output_errors(bundle, precision, asked)}))
        return
    errors = max(error.max for error in report.output_errors), max(error.mean for error in report.output_errors)
    wrong = output_errors(bundle, precision, asked) if report.fell_back else None
    print(json.dumps({"backend": report.backend, "errors": errors, "wrong": wrong}))


def output_errors(bundle: Bundle, precision: str, backend: str) -> tuple[float, float]:
    """The largest and the largest mean error of any raw output of any golden image with this backend."""
    model, _ = choose_model(bundle, backend=backend, precision=precision)
    largest = mean = 0.0
    with Predictor(open_backend(backend, bundle.path_of(model)), bundle.manifest) as predictor:
        for item in read_golden(bundle.folder / GOLDEN_FOLDER, task=bundle.manifest.task).items:
            outputs = predictor.raw_outputs(item.input_u8)
            for role, expected in item.outputs.items():
                error = np.abs(outputs[role].astype(np.float64) - expected) / (float(np.ptp(expected)) or 1.0)
                largest, mean = max(largest, float(error.max())), max(mean, float(error.mean()))
    return largest, mean


if __name__ == "__main__":
    main(*sys.argv[1:])
