"""Models in ONNX format, run by ONNX Runtime on the processor or on hardware that it has a provider for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import BackendError, InferenceError

if TYPE_CHECKING:
    import numpy.typing as npt

LOG_ERRORS_ONLY = 3
PROCESSOR = "CPUExecutionProvider"
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Read by ONNX Runtime while it is imported, and by no release before 1.29."""


def load_onnxruntime() -> ModuleType:
    """The package `onnxruntime`, which reports nothing to its makers unless the environment wants it to.

    From 1.29 on its own builds for Linux send names and hashes of models, hardware and times to Microsoft, and keep an identifier
    of the machine and what is to be sent in `~/.cache/Microsoft/DeveloperTools/.onnxruntime`. `disable_telemetry_events` comes
    too late for the identifier and the first report. Source: github.com/microsoft/onnxruntime, pull request 27379.

    Raises:
        ImportError: it is not installed, or does not fit numpy.
    """
    os.environ.setdefault(NO_TELEMETRY, "1")
    import onnxruntime

    found: ModuleType = onnxruntime
    return found


class OnnxRuntimeBackend:
    """An ONNX model in memory: for one image, or, where its first axis is free (the batch form), for any number.

    Args:
        path: the model file.
        where: what messages call it.
        threads: processor threads for one inference.
        allow_spinning: threads wait busily between operators; faster alone, slower beside neighbours.
        provider: name of an execution provider that must take the model, and the package that brings it; what it cannot
            compute stays on the processor. None for the processor alone.

    Raises:
        BackendError: the runtime lacks the provider or the provider its hardware, the runtime cannot load the model,
            or the model breaks the graph contract.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        where: str,
        threads: int,
        allow_spinning: bool = False,
        provider: tuple[str, str] | None = None,
    ) -> None:
        self._where = where
        try:
            onnxruntime = load_onnxruntime()
        except ImportError as error:
            raise BackendError(f"onnxruntime cannot be imported with numpy {np.__version__}: {error}") from None
        providers = [PROCESSOR]
        if provider is not None:
            _check_available(provider, onnxruntime.get_available_providers())
            providers = [provider[0], PROCESSOR]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if allow_spinning else "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
        except Exception as error:  # its own errors share no base class
            raise BackendError(f"{self._where}: onnxruntime cannot load this model: {error}") from None
        started = self._session.get_providers()
        if provider is not None and provider[0] not in started:  # the runtime goes on without it and says nothing
            raise BackendError(
                f"{self._where}: {provider[0]} cannot start here (found {', '.join(started)}): its driver or libraries are "
                "missing; see the runtime's own messages above, or choose --backend onnxruntime"
            )
        self._input_name, self._input_shape = self._check_input()
        self._takes_one = self._input_shape[0] == 1
        self._output_names = [output.name for output in self._session.get_outputs()]

    def run(self, image_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by tensor name, with the batch axis, for an input (1, h, w, 3) uint8; (n, h, w, 3) in the batch form."""
        images = image_u8.shape[0] if image_u8.ndim and not self._takes_one else 1
        if image_u8.shape != (images, *self._input_shape[1:]) or images < 1 or image_u8.dtype != np.uint8:
            raise BackendError(
                f"{self._where}: found an input {image_u8.shape} {image_u8.dtype}, expected {self._input_shape} uint8"
            )
        try:
            outputs = self._session.run(self._output_names, {self._input_name: image_u8})
        except Exception as error:  # its own errors share no base class
            raise InferenceError(f"{self._where}: inference failed: {error}") from None
        return dict(zip(self._output_names, outputs, strict=True))

    def close(self) -> None:
        """Free the model."""
        self._session = None

    def _check_input(self) -> tuple[str, tuple[int | str, ...]]:
        inputs = self._session.get_inputs()
        found = ", ".join(f"{one.name} {tuple(one.shape)} {one.type}" for one in inputs)
        shape = tuple(inputs[0].shape) if inputs else ()
        sides = shape[1:]
        fits = len(sides) == 3 and sides[2] == 3 and all(isinstance(side, int) for side in sides)
        fits = fits and (shape[0] == 1 or isinstance(shape[0], str))  # a name: any number of images
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or not fits:
            raise BackendError(f"{self._where}: found inputs {found}, expected one (1, height, width, 3) uint8")
        return inputs[0].name, shape


def _check_available(provider: tuple[str, str], available: Sequence[str]) -> None:
    name, requirement = provider
    if name not in available:
        raise BackendError(
            f"this onnxruntime has no {name} (found {', '.join(available)}); install one that has, in place of it: "
            f"pip uninstall onnxruntime; pip install {requirement}"
        )
