"""Checkpoint files: written so that a full disk leaves the earlier one intact, read without running code from them."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from cvforge.errors import CheckpointError, StorageError

SCHEMA_VERSION = 1
IDENTITY_KEY = "cvforge"  # {"schema": int, "task": str, "labels": list[str]}
NAMED_DIFFERENCES = 3
NET_PREFIX, EMA_PREFIX = "net.", "ema_net."


def identity(task: str, labels: tuple[str, ...]) -> dict[str, Any]:
    """What a checkpoint says about itself, under `IDENTITY_KEY`."""
    return {"schema": SCHEMA_VERSION, "task": task, "labels": list(labels)}


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint at `path` in one step: readers and crashes see the old file or the new one, never a part.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the earlier file is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and not isinstance(error.__context__, OSError):
            raise  # torch.save hides a full disk in a RuntimeError; any other is not about storage
        raise StorageError(
            f"{path}: the checkpoint cannot be written ({error}); free space or choose another folder with "
            "run.dir, then resume. The earlier checkpoint is intact"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_checkpoint(
    path: Path, *, task: str | None = None, labels: tuple[str, ...] | None = None, device: str = "cpu"
) -> dict[str, Any]:
    """A checkpoint of CVForge, read with `weights_only=True`.

    Args:
        path: the file.
        task: the task that it must belong to, or None for any.
        labels: the class names that it must have been trained on, or None for any.
        device: where its tensors go.

    Raises:
        CheckpointError: there is no such file, it is damaged, not of CVForge, or of another task or label set.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: there is no such checkpoint; a run keeps them in checkpoints/best.ckpt and last.ckpt"
        )
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError, KeyError) as error:
        first_line = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path}: the file is damaged or not a checkpoint ({first_line}); use the run's other checkpoint or a copy"
        ) from error
    _check_identity(checkpoint, path, task=task, labels=labels)
    return checkpoint


def has_average(checkpoint: dict[str, Any]) -> bool:
    """Whether the run kept a moving average of the weights."""
    return any(name.startswith(EMA_PREFIX) for name in checkpoint["state_dict"])


def net_state(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights to use of the bare net: their moving average when the run kept one, else as the optimiser left them."""
    return _part(checkpoint, EMA_PREFIX if has_average(checkpoint) else NET_PREFIX)


def trained_state(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of the bare net as the optimiser left them."""
    return _part(checkpoint, NET_PREFIX)


def check_fits(net: torch.nn.Module, state: dict[str, torch.Tensor], *, where: str) -> None:
    """Refuse weights that are not exactly those of a net.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape; the first few are named.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    differences = [
        f"{name}: the model has {expected.get(name, 'no such tensor')}, the file {found.get(name, 'no such tensor')}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if differences:
        more = len(differences) - NAMED_DIFFERENCES
        named = "; ".join(differences[:NAMED_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise CheckpointError(
            f"{where}: the weights belong to another model: {named}. Use the config of the run that made them"
        )


def _check_identity(checkpoint: Any, path: Path, *, task: str | None, labels: tuple[str, ...] | None) -> None:
    found = checkpoint.get(IDENTITY_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(found, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{path}: this is not a checkpoint of CVForge; to start from bare weights use the model's weights key"
        )
    if found["schema"] != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path}: checkpoint schema {found['schema']}, this version reads {SCHEMA_VERSION}; use the CVForge that wrote it"
        )
    if task is not None and found["task"] != task:
        raise CheckpointError(f"{path}: the checkpoint was trained for {found['task']}, but {task} is asked for")
    if labels is not None and tuple(found["labels"]) != labels:
        raise CheckpointError(
            f"{path}: the checkpoint knows {_named(found['labels'])}, but the data has {_named(labels)}; use its own data set"
        )


def _part(checkpoint: dict[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    state = checkpoint["state_dict"]
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def _named(labels: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
    return f"{len(labels)} labels ({shown})"
