"""TensorBoard event files, written without TensorFlow, which `torch.utils.tensorboard` would import for ten seconds."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

FILE_VERSION = "brain.Event:2"


class TensorBoardLog(Logger):
    """Every logged number as a scalar.

    Args:
        folder: what `tensorboard --logdir` is given; each start of the run adds a file.
        first_step: the optimiser step that training goes on from; TensorBoard then hides later ones of earlier files.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        super().__init__()
        self.folder = folder
        self.first_step = first_step
        self._writer: RecordWriter | None = None

    @property
    def name(self) -> str:
        """Fixed: Lightning asks."""
        return "tensorboard"

    @property
    def version(self) -> str:
        """Fixed: Lightning asks."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the scalars of one step."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
        self._write(Event(wall_time=time.time(), step=step or 0, summary=Summary(value=values)))

    @rank_zero_only
    def log_picture(self, tag: str, content: bytes, *, step: int) -> None:
        """Write a PNG or JPEG."""
        height, width = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[:2]
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        value = Summary.Value(tag=tag, image=picture)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder has its config."""

    @rank_zero_only
    def save(self) -> None:
        """Make what was logged visible to readers."""
        if self._writer is not None:
            self._writer.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the file; a later number opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, event: Event) -> None:
        if self._writer is None:
            self._writer = self._open()
        self._writer.write(event.SerializeToString())

    def _open(self) -> RecordWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        writer = RecordWriter((self.folder / name).open("wb"))
        writer.write(Event(wall_time=time.time(), file_version=FILE_VERSION).SerializeToString())
        if self.first_step:
            start = SessionLog(status=SessionLog.START)
            writer.write(Event(wall_time=time.time(), step=self.first_step, session_log=start).SerializeToString())
        return writer
