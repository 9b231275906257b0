"""Does this device compute what the trainer computed? The golden vectors of a bundle, replayed and compared."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.backends import BACKENDS, open_backend
from cvforge_edge.backends.table import BUILTIN_SUFFIX
from cvforge_edge.bundle import Bundle
from cvforge_edge.errors import BackendError, BundleError, SelfTestError, SpecError
from cvforge_edge.golden import GOLDEN_FOLDER, Golden, GoldenItem, Tolerance, read_golden
from cvforge_edge.manifest import Manifest, ModelFile, problem_list
from cvforge_edge.match import prediction_problems
from cvforge_edge.postprocess import EMBEDDING, postprocess
from cvforge_edge.predictor import Predictor, choose_model
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputError:
    """How far one raw output of one golden image is from the checkpoint's.

    Attributes:
        item: number of the golden image.
        role: of the output.
        max: largest error, as a fraction of the output's range.
        mean: mean error, as a fraction of the output's range.
    """

    item: int
    role: str
    max: float
    mean: float


@dataclass(frozen=True)
class SelfTestReport:
    """A passed self-test.

    Attributes:
        model: path of the model file in the bundle.
        backend: name of the backend that passed; open the model with this one.
        fell_back: whether that is not the backend that was asked for, because that one computes wrongly here.
        items: how many golden images were replayed.
        output_errors: one entry for each image and output.
        notes: what a user should know, one sentence each.
    """

    model: str
    backend: str
    fell_back: bool
    items: int
    output_errors: tuple[OutputError, ...]
    notes: tuple[str, ...]

    @property
    def worst_output_error(self) -> float:
        """Largest error of any raw output, as a fraction of that output's range."""
        return max(error.max for error in self.output_errors)


def run_self_test(
    bundle: Bundle,
    *,
    backend: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    batch: bool = False,
) -> SelfTestReport:
    """Replay the golden vectors of a bundle on this device.

    A TensorFlow Lite runtime that fails with its default kernels gets a second chance with the interpreter's built-in
    ones, which are slower and right where the default ones misuse a processor; the report and a log line say so.

    Args:
        bundle: an opened bundle.
        backend: a name in `BACKENDS`; None takes the one that `Predictor.from_bundle` would take.
        precision: `fp32`, `fp16` or `int8`; None likewise.
        threads: processor threads for one inference.
        batch: test the model of the batch form, as a server does, instead of the one for devices.

    Raises:
        SelfTestError: the device does not reproduce the vectors; the message lists every difference.
        BundleError: the bundle has no golden vectors, or none for this precision.
        BackendError: no fitting runtime is installed, or it cannot load the model.
    """
    model, name = choose_model(bundle, backend=backend, precision=precision, batch=batch)
    golden = read_golden(bundle.folder / GOLDEN_FOLDER, task=bundle.manifest.task)
    tolerance = _tolerance(golden, model, folder=bundle.folder)
    _check_fit(golden, bundle)
    failures: dict[str, list[str]] = {}
    for candidate in _candidates(name):
        errors, problems = _replay(bundle, model, golden, tolerance, backend=candidate, threads=threads)
        if not problems:
            notes = _notes(name, candidate, failures)
            for note in notes:
                logger.warning("%s", note)
            return SelfTestReport(model.path, candidate, candidate != name, len(golden.items), tuple(errors), notes)
        failures[candidate] = problems
    raise SelfTestError(
        f"{bundle.folder}: this device does not reproduce the golden vectors of {model.path}; do not use it here\n"
        + "\n".join(f"  backend {candidate}: {'; '.join(problems)}" for candidate, problems in failures.items())
    )


def _candidates(name: str) -> list[str]:
    fallback = name + BUILTIN_SUFFIX
    return [name, fallback] if fallback in BACKENDS else [name]


def _notes(asked: str, passed: str, failures: dict[str, list[str]]) -> tuple[str, ...]:
    """One line: services write it to their journal at each start."""
    if passed == asked:
        return ()
    first, *others = failures[asked]
    more = f", and {len(others)} more" if others else ""
    return (f"{asked} computes wrongly on this processor ({first}{more}); use {passed} here, slower but right",)


def _tolerance(golden: Golden, model: ModelFile, *, folder: Path) -> Tolerance:
    if model.precision not in golden.tolerances:
        raise BundleError(
            f"{folder}: no tolerance for {model.precision} in the golden vectors; found "
            f"{', '.join(golden.tolerances) or 'none'}; export the bundle again"
        )
    return golden.tolerances[model.precision]


def _check_fit(golden: Golden, bundle: Bundle) -> None:
    """Refuse vectors that cannot be of this model before any model is loaded."""
    found = [(number, _fit_problems(item, bundle.manifest)) for number, item in enumerate(golden.items)]
    problems = [f"image {number}: {problem}" for number, problems in found for problem in problems]
    if problems:
        raise BundleError(problem_list(f"{bundle.folder}: golden vectors", [*problems, "export the bundle again"]))


def _fit_problems(item: GoldenItem, manifest: Manifest) -> list[str]:
    input_u8, geometry = manifest.preprocess.apply(item.image_bgr)
    if item.input_u8.shape != input_u8.shape or item.input_u8.dtype != np.uint8:
        return [f"prepared image is {item.input_u8.shape} {item.input_u8.dtype}, expected {input_u8.shape} uint8"]
    if sorted(item.outputs) != sorted(manifest.outputs):
        return [f"found outputs {sorted(item.outputs)}, expected {sorted(manifest.outputs)}"]
    arrays = {f"output {role!r}": output for role, output in item.outputs.items()}
    arrays |= {f"prediction {name!r}": value for name, value in vars(item.prediction).items() if value is not None}
    problems = [f"{name} holds other than finite numbers" for name, array in arrays.items() if not _is_finite(array)]
    if problems:
        return problems
    try:
        postprocess(dict(item.outputs), manifest.postprocess, geometry)
    except SpecError as error:
        return [str(error)]
    return []


def _is_finite(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf" and bool(np.isfinite(array).all())


def _replay(
    bundle: Bundle, model: ModelFile, golden: Golden, tolerance: Tolerance, *, backend: str, threads: int
) -> tuple[list[OutputError], list[str]]:
    """Errors of all raw outputs, and what is out of tolerance."""
    errors: list[OutputError] = []
    problems: list[str] = []
    with bundle.copy_of(model) as path:
        loaded = open_backend(backend, path, threads=threads, where=bundle.path_of(model))
    with Predictor(loaded, bundle.manifest) as predictor:
        for number, item in enumerate(golden.items):
            try:
                new_errors, new_problems = _replay_item(predictor, item, tolerance, number=number)
            except (BackendError, SpecError) as error:
                new_errors, new_problems = [], [str(error)]
            errors += new_errors
            problems += [f"image {number}: {problem}" for problem in new_problems]
    return errors, problems


def _replay_item(
    predictor: Predictor, item: GoldenItem, tolerance: Tolerance, *, number: int
) -> tuple[list[OutputError], list[str]]:
    """Each step is fed with what the checkpoint had, so that one fault is reported once, at its place."""
    manifest = predictor.manifest
    input_u8, geometry = manifest.preprocess.apply(item.image_bgr)
    problems = _input_problems(input_u8, item.input_u8, tolerance)
    outputs = predictor.raw_outputs(item.input_u8)
    errors = [_output_error(outputs[role], item.outputs[role], role=role, number=number) for role in manifest.outputs]
    problems += [problem for error in errors for problem in _output_problems(error, tolerance)]
    found = postprocess(outputs, manifest.postprocess, geometry)
    threshold = manifest.postprocess.score_threshold
    problems += prediction_problems(found, item.prediction, tolerance, score_threshold=threshold)
    return errors, problems


def _input_problems(found: npt.NDArray[np.uint8], expected: npt.NDArray[np.uint8], tolerance: Tolerance) -> list[str]:
    if found.shape != expected.shape:
        return [f"prepared image is {found.shape}, expected {expected.shape}"]
    steps = int(np.abs(found.astype(np.int16) - expected).max())
    if steps <= tolerance.input_steps:
        return []
    return [
        f"prepared image differs by {steps} grey levels, accepted {tolerance.input_steps}; compare OpenCV's version"
    ]


def _output_error(found: Any, expected: Any, *, role: str, number: int) -> OutputError:
    """Errors relative to the range of the expected output; infinite where shapes differ or a value is not finite."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return OutputError(number, role, float("inf"), float("inf"))
    error = np.abs(found.astype(np.float64) - expected)
    span = float(expected.max()) - float(expected.min())
    scale = span if span > 0 else 1.0
    return OutputError(number, role, float(error.max()) / scale, float(error.mean()) / scale)


def _output_problems(error: OutputError, tolerance: Tolerance) -> list[str]:
    own = tolerance.embedding if error.role == EMBEDDING else None
    accepted = tolerance.output_max if own is None else own
    problems = []
    if not error.max <= accepted:
        problems.append(f"output {error.role!r} is off by {error.max:.2g} of its range, accepted {accepted:g}")
    if own is not None:
        return problems
    if not error.mean <= tolerance.output_mean:
        problems.append(
            f"output {error.role!r} is off by {error.mean:.2g} of its range on average, "
            f"accepted {tolerance.output_mean:g}"
        )
    return problems
