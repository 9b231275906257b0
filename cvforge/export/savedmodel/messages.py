"""Named arrays over a pipe between two processes; nothing that arrives is ever run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

LENGTH_BYTES = 8


def send(stream: BinaryIO, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write one message and push it out.

    Raises:
        OSError: the other side has gone.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)
    stream.write(content.tell().to_bytes(LENGTH_BYTES, "little"))
    stream.write(content.getbuffer())
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, npt.NDArray[Any]] | None:
    """Wait for the next message; None where the other side has ended, also in the middle of one."""
    head = stream.read(LENGTH_BYTES)
    size = int.from_bytes(head, "little")
    content = stream.read(size) if len(head) == LENGTH_BYTES else b""
    if len(head) < LENGTH_BYTES or len(content) < size:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)
