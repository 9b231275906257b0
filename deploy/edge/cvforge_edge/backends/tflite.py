"""Models in TensorFlow Lite format, run by ai-edge-litert or by tflite-runtime, whose interfaces are alike."""

from __future__ import annotations

import ctypes
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import BackendError, InferenceError

if TYPE_CHECKING:
    import numpy.typing as npt


class TfliteBackend:
    """A TensorFlow Lite model in memory; threads take turns, since an interpreter has one set of tensors.

    Args:
        path: the model file.
        where: what messages call it.
        runtime: `ai_edge_litert` or `tflite_runtime`.
        threads: processor threads for one inference.
        builtin_kernels: run the interpreter's own kernels instead of XNNPACK's: slower, and right on processors where
            XNNPACK's are wrong.
        delegate: shared library of a delegate that takes what it can of the model; None for none.

    Raises:
        BackendError: the delegate cannot be loaded or finds no hardware, the runtime cannot load the model,
            or the model breaks the graph contract.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        where: str,
        runtime: str,
        threads: int,
        builtin_kernels: bool = False,
        delegate: str | None = None,
    ) -> None:
        self._where = where
        module = _import_interpreter(runtime)
        kernels = (
            module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if builtin_kernels else module.OpResolverType.AUTO
        )
        delegates = [] if delegate is None else [_load_delegate(module, delegate)]
        try:
            self._interpreter: Any = module.Interpreter(
                model_path=str(path),
                num_threads=threads,
                experimental_op_resolver_type=kernels,
                experimental_delegates=delegates,
            )
            self._interpreter.allocate_tensors()
            self._output_indices = _output_indices(self._interpreter)
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"{self._where}: {runtime} cannot load this model: {error}") from None
        self._input_index, self._input_shape = self._check_input()
        self._turn = Lock()

    def run(self, image_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by tensor name, with the batch axis, for an input (1, h, w, 3) uint8."""
        if image_u8.shape != self._input_shape or image_u8.dtype != np.uint8:
            raise BackendError(
                f"{self._where}: found an input {image_u8.shape} {image_u8.dtype}, expected {self._input_shape} uint8"
            )
        with self._turn:
            self._interpreter.set_tensor(self._input_index, image_u8)
            try:
                self._interpreter.invoke()
            except RuntimeError as error:
                raise InferenceError(f"{self._where}: inference failed: {error}") from None
            # get_tensor copies (0.5 ms for 4 MB): a view would change under the caller at the next frame.
            return {name: self._interpreter.get_tensor(index) for name, index in self._output_indices.items()}

    def close(self) -> None:
        """Free the model."""
        self._interpreter = None

    def _check_input(self) -> tuple[int, tuple[int, ...]]:
        inputs = self._interpreter.get_input_details()
        found = ", ".join(f"{one['name']} {tuple(map(int, one['shape']))} {np.dtype(one['dtype'])}" for one in inputs)
        shape = tuple(map(int, inputs[0]["shape"])) if inputs else ()
        if len(inputs) != 1 or inputs[0]["dtype"] != np.uint8 or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
            raise BackendError(f"{self._where}: found inputs {found}, expected one (1, height, width, 3) uint8")
        return inputs[0]["index"], shape


def _import_interpreter(runtime: str) -> Any:
    try:
        return import_module(f"{runtime}.interpreter")
    except (ImportError, AttributeError) as error:
        # tflite-runtime was built for numpy 1 and fails under numpy 2 without saying so.
        raise BackendError(f"{runtime} cannot be imported with numpy {np.__version__}: {error}") from None


def _load_delegate(module: Any, library: str) -> Any:
    try:
        ctypes.CDLL(library)  # the interpreter's own attempt says less
        return module.load_delegate(library)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error) or "it found no hardware"
        raise BackendError(
            f"delegate {library}: cannot be loaded: {reason}. Install the library of the hardware's maker where the system "
            "finds it (ldconfig -p), plug the hardware in, or choose --backend litert"
        ) from None


def _output_indices(interpreter: Any) -> dict[str, int]:
    """Tensor index of each output by its name in the model's signature.

    Tensors keep the converter's own names (`StatefulPartitionedCall:0`); only the signature has ours. Reading by index
    is faster than the signature runner, which looks every name up at every call.
    """
    signatures = list(interpreter.get_signature_list())
    if len(signatures) != 1:
        raise ValueError(f"it has {len(signatures)} signatures, expected one that names its outputs")
    details = interpreter.get_signature_runner(signatures[0]).get_output_details()
    return {name: int(detail["index"]) for name, detail in details.items()}
