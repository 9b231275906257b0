"""Which inference runtimes there are, which model format each runs, and how to open one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cvforge_edge.errors import BackendError
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Backend(Protocol):
    """A model that an inference runtime has loaded."""

    def run(self, image_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by tensor name, with the batch axis, for an input (1, h, w, 3) uint8; the caller may keep them.

        Raises:
            BackendError: the input does not fit the model.
            InferenceError: the model fails at it.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(frozen=True)
class BackendEntry:
    """One way to run models.

    Attributes:
        format: of the model files that it runs.
        runtime: Python module that must be installed.
        requirement: what to give to pip where it is not.
        by_name_only: whether it is only opened when asked for by name: slower kernels of the same runtime, or hardware
            beside the processor.
        provider: execution provider of ONNX Runtime that must take the model; None for the processor.
        delegate: shared library of a TensorFlow Lite delegate, as the loader of the system finds it; None for none.
    """

    format: str
    runtime: str
    requirement: str
    by_name_only: bool = False
    provider: str | None = None
    delegate: str | None = None

    @property
    def on_processor(self) -> bool:
        """Whether it needs nothing but the processor."""
        return self.provider is None and self.delegate is None


def _provider(provider: str, requirement: str) -> BackendEntry:
    return BackendEntry("onnx", "onnxruntime", requirement, by_name_only=True, provider=provider)


def _delegate(library: str) -> BackendEntry:
    return BackendEntry("tflite", "ai_edge_litert", "ai-edge-litert", by_name_only=True, delegate=library)


BACKENDS = {
    "litert": BackendEntry("tflite", "ai_edge_litert", "ai-edge-litert"),
    "litert-builtin": BackendEntry("tflite", "ai_edge_litert", "ai-edge-litert", by_name_only=True),
    "tflite-runtime": BackendEntry("tflite", "tflite_runtime", "tflite-runtime 'numpy<2'"),
    "tflite-runtime-builtin": BackendEntry("tflite", "tflite_runtime", "tflite-runtime 'numpy<2'", by_name_only=True),
    "onnxruntime": BackendEntry("onnx", "onnxruntime", "onnxruntime"),
    "onnxruntime-cuda": _provider("CUDAExecutionProvider", "onnxruntime-gpu"),
    "onnxruntime-tensorrt": _provider("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "onnxruntime-openvino": _provider("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "litert-edgetpu": _delegate("libedgetpu.so.1"),
    "litert-gpu": _delegate("libtensorflowlite_gpu_delegate.so"),
    "litert-vx": _delegate("libvx_delegate.so"),
}
"""By name, the preferred one first."""

BUILTIN_SUFFIX = "-builtin"
"""Ending of the backends that run the interpreter's own kernels instead of XNNPACK's."""


def open_backend(
    name: str, path: Path | str, *, threads: int = 1, allow_spinning: bool = False, where: Path | str | None = None
) -> Backend:
    """Load a model file.

    Args:
        name: a name in `BACKENDS`.
        path: the model file.
        threads: processor threads for one inference, at least 1.
        allow_spinning: onnxruntime only: threads wait busily between operators; faster alone, slower beside neighbours.
        where: what messages call the model file; None for its path.

    Raises:
        BackendError: the name is unknown, the runtime is not installed, or it cannot load the model.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend: found {name!r}, accepted {', '.join(BACKENDS)}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise BackendError(f"threads: found {threads!r}, accepted whole numbers of at least 1")
    entry, where = BACKENDS[name], str(where or path)
    if allow_spinning and entry.format != "onnx":
        raise BackendError(f"allow_spinning: an option of onnxruntime only; backend {name!r} has no such threads")
    if not is_installed(name):
        raise BackendError(f"backend {name!r}: its runtime is not installed; {_install_line([name])}")
    if not Path(path).is_file():
        raise BackendError(f"{where}: no such model file")
    if entry.format == "onnx":
        from cvforge_edge.backends.onnx_runtime import OnnxRuntimeBackend

        provider = (entry.provider, entry.requirement) if entry.provider else None
        return OnnxRuntimeBackend(path, where=where, threads=threads, allow_spinning=allow_spinning, provider=provider)
    from cvforge_edge.backends.tflite import TfliteBackend

    return TfliteBackend(
        path,
        where=where,
        runtime=entry.runtime,
        threads=threads,
        builtin_kernels=name.endswith(BUILTIN_SUFFIX),
        delegate=entry.delegate,
    )


def is_installed(name: str) -> bool:
    """Whether the runtime of a backend can be imported; it is not imported to find out."""
    return find_spec(BACKENDS[name].runtime) is not None


def choose_backend(formats: Sequence[str]) -> str:
    """The preferred installed backend that runs one of these model formats.

    Raises:
        BackendError: no runtime for any of them is installed.
    """
    fitting = [name for name, entry in BACKENDS.items() if entry.format in formats and not entry.by_name_only]
    for name in fitting:
        if is_installed(name):
            return name
    raise BackendError(f"no runtime for {' or '.join(formats) or 'any'} models is installed; {_install_line(fitting)}")


def _install_line(names: Sequence[str]) -> str:
    return "install it with: " + "  or  ".join(f"pip install {BACKENDS[name].requirement}" for name in names)
