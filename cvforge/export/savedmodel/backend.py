"""A SavedModel as a device backend: TensorFlow runs it in a process of its own, so that torch and it never meet.

In one process the two crash in most orders of import, and TensorFlow keeps 500 MB.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.export.savedmodel.messages import receive, send
from cvforge.export.savedmodel.run_worker import ERROR, IMAGE
from cvforge.export.worker import worker_environment
from cvforge_edge.errors import BackendError

WORKER = "cvforge.export.savedmodel.run_worker"
LOG_LINES = 12
END_LIMIT_S = 30
INSTALL = 'make install EXTRAS=train,export,tensorflow,dev  or  pip install -c constraints.txt -e ".[train,export,tensorflow]"'


def require_tensorflow() -> None:
    """Find out before the work starts whether there is TensorFlow; it is not imported.

    Raises:
        BackendError: there is none; the message says how to install it.
    """
    if find_spec("tensorflow") is None:
        raise BackendError(f"a SavedModel needs tensorflow, which is not installed; install it with: {INSTALL}")


class SavedModelBackend:
    """Runs the signature `serving_default` on one thread; implements `cvforge_edge.backends.Backend`.

    Args:
        folder: with `saved_model.pb`.

    Raises:
        BackendError: TensorFlow is not installed or cannot load the model.
    """

    def __init__(self, folder: Path) -> None:
        require_tensorflow()
        self._where = str(folder)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # On a processor, as every other file is measured, also where there is a GPU.
            env={**worker_environment(), "CUDA_VISIBLE_DEVICES": ""},
        )
        try:
            self._receive("cannot be loaded by tensorflow")
        except BackendError:
            self.close()
            raise

    def run(self, image_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name, with batch axis, for images (b, h, w, 3) uint8 RGB.

        Raises:
            BackendError: inference fails, or the process has ended.
        """
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, {IMAGE: np.ascontiguousarray(image_u8)})
        except (OSError, ValueError):  # the pipe is broken, or closed
            raise BackendError(f"{self._where}: the process of tensorflow has ended{self._log_tail()}") from None
        return self._receive("inference failed")

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not sent any more
                    stream.close()
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _receive(self, failure: str) -> dict[str, npt.NDArray[Any]]:
        assert self._process.stdout is not None
        answer = receive(self._process.stdout)
        if answer is None:
            code = self._process.wait()
            raise BackendError(f"{self._where}: the process of tensorflow ended with code {code}{self._log_tail()}")
        if ERROR in answer:
            raise BackendError(f"{self._where}: {failure}: {answer[ERROR]}")
        return answer

    def _log_tail(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()[-LOG_LINES:]
        return "\n".join(["; its last lines:", *(f"  | {line}" for line in lines)]) if lines else ""
