"""The files of a bundle as its manifest lists them: models, and everything else."""

from __future__ import annotations

from typing import Any

from cvforge_edge.bundle_paths import stays_inside
from cvforge_edge.errors import SpecError
from cvforge_edge.records import dataclass

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "signature.json"
RESERVED_NAMES = (MANIFEST_NAME, SIGNATURE_NAME)
FORMATS = ("tflite", "onnx")
BATCH_FORMATS = ("onnx",)
PRECISIONS = ("fp32", "fp16", "int8")
SHA256_DIGITS = 64


@dataclass(frozen=True)
class BundleFile:
    """A file of the bundle that is not a model: a golden vector, the model card.

    Attributes:
        path: inside the bundle, with `/`, for instance `golden/00.png`.
        sha256: 64 lower-case hexadecimal digits.
        size_bytes: length of the file.
    """

    path: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        _raise_if(_file_problems(self.path, self.sha256, self.size_bytes))

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class ModelFile:
    """A model file of the bundle.

    Attributes:
        path: inside the bundle, with `/`, for instance `model_fp32.tflite`.
        format: `tflite` or `onnx`.
        precision: `fp32`, `fp16` or `int8`.
        sha256: 64 lower-case hexadecimal digits.
        size_bytes: length of the file.
        batch: whether it takes any number of images in one call, as servers run it, rather than one; only ONNX files can.
    """

    path: str
    format: str
    precision: str
    sha256: str
    size_bytes: int
    batch: bool = False

    def __post_init__(self) -> None:
        problems = _file_problems(self.path, self.sha256, self.size_bytes)
        if self.format not in FORMATS:
            problems.append(f"format: found {self.format!r}, accepted {', '.join(FORMATS)}")
        if self.precision not in PRECISIONS:
            problems.append(f"precision: found {self.precision!r}, accepted {', '.join(PRECISIONS)}")
        if self.batch and self.format not in BATCH_FORMATS:
            problems.append(f"batch: found a file of format {self.format!r}, accepted {', '.join(BATCH_FORMATS)}")
        _raise_if(problems)

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON; `batch` only where it is true, so that what devices run reads as it always did."""
        return {key: value for key, value in vars(self).items() if key != "batch" or value}


def _file_problems(path: str, sha256: str, size_bytes: int) -> list[str]:
    problems = []
    if not stays_inside(path, reserved=RESERVED_NAMES):
        problems.append(
            f"path: found {path!r}, accepted a relative path with '/' and no '.', '..', '\\', ':', "
            f"neither {MANIFEST_NAME} nor {SIGNATURE_NAME}"
        )
    if len(sha256) != SHA256_DIGITS or not set(sha256) <= set("0123456789abcdef"):
        problems.append(f"sha256: found {sha256!r}, accepted {SHA256_DIGITS} lower-case hexadecimal digits")
    if isinstance(size_bytes, bool) or not isinstance(size_bytes, int) or size_bytes < 0:
        problems.append(f"size_bytes: found {size_bytes!r}, accepted whole numbers of at least 0")
    return problems


def _raise_if(problems: list[str]) -> None:
    if problems:
        raise SpecError("; ".join(problems))
