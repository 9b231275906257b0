"""The status of a run at its very beginning."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cvforge_edge.predictor import choose_model
from cvforge_edge.status import RunStatus, StatusBoard

if TYPE_CHECKING:
    from cvforge_edge.bundle import Bundle


def starting_board(bundle: Bundle, *, backend: str | None, precision: str | None) -> StatusBoard:
    """A board that says what is about to run, since now.

    Args:
        bundle: of the model.
        backend: name of the runtime as the user chose it, or None.
        precision: likewise.

    Raises:
        EdgeError: no model of the bundle fits.
    """
    fields = model_fields(bundle, backend=backend, precision=precision)
    return StatusBoard(RunStatus(started_unix_s=time.time(), started_s=time.monotonic(), **fields))


def model_fields(bundle: Bundle, *, backend: str | None, precision: str | None) -> dict[str, Any]:
    """What a status says about the model; arguments and errors as of `starting_board`."""
    model, name = choose_model(bundle, backend=backend, precision=precision)
    return {
        "model": bundle.manifest.name,
        "version": bundle.manifest.version,
        "backend": f"{name}, {model.path}",
    }
