"""Whether ai-edge-litert, tensorflow (`tf.lite.Interpreter`) and tflite-runtime give one answer for the TFLite files of a bundle.

    python benchmarks/three_runtimes.py bundles/det_bccd bundles/seg_camvid
    python benchmarks/three_runtimes.py bundles/det_bccd --tflite-runtime /opt/board/bin/python

Each runtime loads each file in a process of its own and answers the bundle's golden images, on one thread. ai-edge-litert
answers twice, with XNNPACK's kernels (its default) and with its built-in ones: in int8 the two round otherwise, and which
of them a runtime takes is its own affair. Its answers must be those of one of the two; the table says of which. All
differences are fractions of the output's range; the embedding, an average of features that is no answer, has a column of its own
and no limit. tflite-runtime has wheels up to Python 3.11 and needs numpy 1, so it gets an
environment of its own, made by pip where none is named. Exit code 1: a difference is larger than its limit.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

EDGE = Path(__file__).resolve().parents[1] / "deploy" / "edge"
REFERENCE = "ai_edge_litert"
MODULES = {REFERENCE: "ai-edge-litert", "tensorflow.lite.python": "tensorflow", "tflite_runtime": "tflite-runtime"}
"""Package with a module `interpreter` -> what it is called in the index."""
KERNELS = ("XNNPACK", "built-in")
LIMITS = {"fp32": (1e-3, 1e-3), "fp16": (1e-3, 1e-3), "int8": (1e-1, 5e-3)}
"""Precision -> largest and mean difference. Of int8 files half of what quantisation itself changes at most: their entry is in
float, where the last bit depends on the order of a sum, and decides which of two steps a number on their border becomes."""
MIN_RANGE = 1e-2
INSTALL_LIMIT_S, RUN_LIMIT_S = 900, 900
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """What one runtime says to the golden images.

    Attributes:
        file: bundle and model file.
        precision: of the file.
        runtime: name and version.
        kernels: of ai-edge-litert that its answers are nearest to.
        worst: largest difference of any output to those.
        mean: largest mean difference of an output to those.
        from_checkpoint: largest mean difference of an output to that of the fp32 checkpoint.
        embedding: mean difference of the embedding to that of these kernels; None where the bundle has none.
    """

    file: str
    precision: str
    runtime: str
    kernels: str
    worst: float
    mean: float
    from_checkpoint: float
    embedding: float | None

    @property
    def ok(self) -> bool:
        """Whether both differences are within the limits of the precision."""
        worst, mean = LIMITS[self.precision]
        return self.worst <= worst and self.mean <= mean


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 where a difference is too large."""
    options = _parser().parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="cvforge-runtimes-") as scratch,
        _pythons(options.tflite_runtime) as pythons,
    ):
        rows = [row for bundle in options.bundles for row in compare(bundle, pythons, Path(scratch))]
    print(f"{platform.machine()}, Python {platform.python_version()}, one thread")
    print(f"{'file':38}{'runtime':24}{'as LiteRT with':16}{'worst':>9}{'mean':>9}{'checkpoint':>12}{'embedding':>11}")
    for row in rows:
        embedding = "" if row.embedding is None else f"{row.embedding:11.1e}"
        numbers = f"{row.worst:9.1e}{row.mean:9.1e}{row.from_checkpoint:12.1e}{embedding}"
        print(f"{row.file:38}{row.runtime:24}{row.kernels:16}{numbers}{'' if row.ok else '  too large'}")
    return 0 if all(row.ok for row in rows) else 1


def compare(bundle: Path, pythons: dict[str, str], scratch: Path) -> Iterator[Row]:
    """A row for every runtime and TFLite file of a bundle.

    Args:
        bundle: with golden vectors.
        pythons: module of a runtime -> interpreter of an environment that has it.
        scratch: an existing folder.
    """
    from cvforge_edge.bundle import open_bundle
    from cvforge_edge.golden import GOLDEN_FOLDER, read_golden
    from cvforge_edge.postprocess import EMBEDDING

    opened = open_bundle(bundle)
    items = read_golden(bundle / GOLDEN_FOLDER, task=opened.manifest.task).items
    names = opened.manifest.outputs
    embedding = names.get(EMBEDDING)
    checkpoint = {name: np.stack([item.outputs[role] for item in items]) for role, name in names.items()}
    images, answers = scratch / "images.npy", scratch / "answers.npz"
    np.save(images, np.stack([item.input_u8 for item in items]))
    for model in (model for model in opened.manifest.models if model.format == "tflite"):
        path = opened.path_of(model)
        litert = {k: _answers(pythons[REFERENCE], REFERENCE, k, (path, images, answers))[1] for k in KERNELS}
        for module, python in pythons.items():
            runtime, outputs = _answers(python, module, KERNELS[0], (path, images, answers))
            errors = {kernels: _errors(expected, outputs, leave_out=embedding) for kernels, expected in litert.items()}
            kernels = min(errors, key=lambda name: errors[name])
            worst, mean = errors[kernels]
            distance = _errors(checkpoint, outputs, leave_out=embedding)[1]
            apart = None if embedding is None else _difference(litert[kernels][embedding], outputs[embedding])[1]
            yield Row(f"{bundle.name}/{model.path}", model.precision, runtime, kernels, worst, mean, distance, apart)


def _errors(expected: Outputs, found: Outputs, *, leave_out: str | None) -> tuple[float, float]:
    """The largest and the largest mean difference of any output, as fractions of its range over all images."""
    errors = [_difference(expected[name], found[name]) for name in expected if name != leave_out]
    return max(worst for worst, _ in errors), max(mean for _, mean in errors)


def _difference(expected: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    assert expected.shape == found.shape
    difference = np.abs(expected.astype(np.float64) - found) / max(float(np.ptp(expected)), MIN_RANGE)
    return float(difference.max()), float(difference.mean())


def _answers(python: str, module: str, kernels: str, paths: tuple[Path, Path, Path]) -> tuple[str, Outputs]:
    """Name and version of a runtime, and its outputs by name; `paths` are those of model, images and answers."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(EDGE), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [python, __file__, "--answer", module, kernels, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{module}: {paths[0]}: ended with code {done.returncode}\n{done.stderr[-2000:]}")
    with np.load(paths[2]) as outputs:
        return done.stdout.strip().splitlines()[-1], dict(outputs)


def answer(module: str, kernels: str, model: str, images: str, answers: str) -> None:
    """Inside the environment of a runtime: write its outputs, print its name and version."""
    from cvforge_edge.backends.tflite import TfliteBackend

    backend = TfliteBackend(model, runtime=module, threads=1, builtin_kernels=kernels == KERNELS[1])
    found = [backend.run(image[None]) for image in np.load(images)]
    np.savez(answers, **{name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]})
    print(MODULES[module], version(MODULES[module]))


@contextmanager
def _pythons(tflite_runtime: Path | None) -> Iterator[dict[str, str]]:
    """Module of each runtime -> the interpreter of an environment that has it."""
    here = {module: sys.executable for module in MODULES if module != "tflite_runtime"}
    if tflite_runtime is not None:
        yield {**here, "tflite_runtime": str(tflite_runtime)}
        return
    with tempfile.TemporaryDirectory(prefix="cvforge-tflite-runtime-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=INSTALL_LIMIT_S)
        python = str(Path(folder) / "bin" / "python")
        needed = EDGE / "requirements-tflite-runtime.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", needed], check=True, timeout=INSTALL_LIMIT_S)
        yield {**here, "tflite_runtime": python}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="folder of a bundle with TFLite files")
    parser.add_argument(
        "--tflite-runtime",
        type=Path,
        metavar="PYTHON",
        help="of an environment with tflite-runtime (default: make one)",
    )
    return parser


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(*sys.argv[2:])
    else:
        raise SystemExit(main(sys.argv[1:]))
