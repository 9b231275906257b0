"""The images of one part through the model: rows in the order of the list, a problem of one image in its own row."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import BackendError, BundleError, EdgeError, StorageError
from cvforge_edge.geometry import Geometry
from cvforge_edge.postprocess import Outputs, postprocess
from cvforge_edge.prediction_record import prediction_record
from cvforge_edge.predictor import Predictor
from cvforge_edge.records import dataclass
from cvforge_server.bulk.deaths import MOST_DEATHS, DeathNotes
from cvforge_server.bulk.image_file import NoPredictionError, open_image
from cvforge_server.bulk.image_list import paths_digest, read_part_paths
from cvforge_server.bulk.job import BulkJob
from cvforge_server.bulk.part_file import PartContent, PartFile, standing_part
from cvforge_server.bulk.part_name import PartName
from cvforge_server.bulk.schema import TASK_COLUMN, Status, part_schema, task_value
from cvforge_server.errors import RequestError
from cvforge_server.forward import forward

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Opened:
    path: str
    input_u8: npt.NDArray[np.uint8]
    geometry: Geometry
    size_hw: tuple[int, int]


def open_predictor(job: BulkJob) -> Predictor:
    """The model of a job.

    Raises:
        BundleError: the bundle is damaged, or not the one that the run began with.
        BackendError: the runtime is not installed, or cannot load the model.
    """
    bundle, settings = open_bundle(job.bundle), job.settings
    if bundle.manifest_sha256 != settings.fingerprint:
        raise BundleError(
            f"{job.bundle}: found fingerprint {bundle.manifest_sha256}, and the run began with {settings.fingerprint}; "
            "every machine needs the same bundle, and it must not change while a run goes on"
        )
    every = (*bundle.manifest.models, *bundle.manifest.batch_models)
    model = next(model for model in every if model.path == settings.model)
    predictor = Predictor.of_model(bundle, model, backend=settings.backend, threads=job.threads)
    if settings.score_threshold is None:
        return predictor
    spec = replace(predictor.manifest.postprocess, score_threshold=settings.score_threshold)
    return predictor.with_postprocess(spec)


class Worker:
    """Makes parts with one loaded model.

    Args:
        job: what to do.

    Raises:
        EdgeError: as `open_predictor`.
    """

    def __init__(self, job: BulkJob) -> None:
        self._job = job
        self._predictor = open_predictor(job)
        self._manifest = self._predictor.manifest

    def close(self) -> None:
        """Free the model."""
        self._predictor.close()

    def make_part(self, name: PartName) -> PartContent:
        """Predict the images of one part and put it into the folder; a part that stands there whole is left as it is.

        Raises:
            StorageError: the list cannot be read, or the part cannot be written.
        """
        job, parts = self._job, self._job.parts
        try:
            paths = read_part_paths(job.lists, name)
        except Exception as error:  # whatever Parquet finds wrong with it
            raise StorageError(f"{job.lists}: the list of {name.file} cannot be read ({error})") from None
        fingerprint = job.settings.fingerprint
        there = standing_part(parts / name.file, fingerprint=fingerprint, paths=paths, redo_errors=job.redo_errors)
        if there is not None:
            return there
        try:
            notes = DeathNotes(parts / name.notes)
        except OSError as error:
            raise StorageError(f"{parts}: cannot be written ({error.strerror})") from None
        try:
            schema = part_schema(self._manifest.task)
            with PartFile(parts / name.file, schema, fingerprint=fingerprint, paths=paths_digest(paths)) as part:
                for row in self._rows(paths, notes):
                    part.add(row)
            return part.content
        finally:
            notes.close()

    def _rows(self, paths: Sequence[str], notes: DeathNotes) -> Iterator[dict[str, Any]]:
        together = 1 if notes.one_by_one else self._job.batch_size
        for start in range(0, len(paths), together):
            batch = paths[start : start + together]
            if notes.is_deadly(start):
                text = f"{batch[0]}: {MOST_DEATHS} workers ended without a word at this image; look at it by itself"
                yield self._failed_row(batch[0], NoPredictionError(Status.WORKER_DIED, text))
            else:
                yield from self._rows_of_batch(batch)

    def _rows_of_batch(self, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
        opened = [self._open(path) for path in paths]
        inputs = [one.input_u8 for one in opened if isinstance(one, _Opened)]
        found = iter(forward(self._predictor, inputs, batch_size=max(1, len(inputs))))
        for path, one in zip(paths, opened, strict=True):
            if isinstance(one, NoPredictionError):
                yield self._failed_row(path, one)
            else:
                yield self._row(one, next(found))

    def _open(self, path: str) -> _Opened | NoPredictionError:
        try:
            # Only the network's input is kept: the decoded pictures of a batch can be gigabytes.
            image_bgr = open_image(path, max_megapixels=self._job.settings.max_megapixels)
            input_u8, geometry = self._manifest.preprocess.apply(image_bgr)
            return _Opened(path, input_u8, geometry, (image_bgr.shape[0], image_bgr.shape[1]))
        except NoPredictionError as problem:
            return problem
        except Exception as error:  # one image of millions must not end the run
            return _unexpected(path, error)

    def _row(self, opened: _Opened, outputs: Outputs | RequestError) -> dict[str, Any]:
        height, width = opened.size_hw
        size = {"width": width, "height": height}
        task = self._manifest.task
        if isinstance(outputs, RequestError):
            text = f"{opened.path}: {outputs.__cause__ or outputs}"
            return self._failed_row(opened.path, NoPredictionError(Status.INFERENCE_FAILED, text)) | size
        try:
            prediction = postprocess(outputs, self._manifest.postprocess, opened.geometry)
            value = task_value(prediction_record(prediction, self._manifest.labels), task)
        except EdgeError as error:
            problem = NoPredictionError(Status.INFERENCE_FAILED, f"{opened.path}: {error}")
            return self._failed_row(opened.path, problem) | size
        except Exception as error:
            return self._failed_row(opened.path, _unexpected(opened.path, error)) | size
        return self._head(opened.path) | size | {"status": Status.OK.value, TASK_COLUMN[task]: value}

    def _failed_row(self, path: str, problem: NoPredictionError) -> dict[str, Any]:
        return self._head(path) | {"status": problem.status.value, "error": as_text(problem.message)}

    def _head(self, path: str) -> dict[str, Any]:
        return {"path": as_text(path), "fingerprint": self._job.settings.fingerprint}


def as_text(path: str) -> str:
    """A path as UTF-8 can say it: bytes of the file system that are no text become `\\xff`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def warm_up(job: BulkJob) -> None:
    """Open the model of a job and run it once, before anything else is started.

    Raises:
        EdgeError: as `open_predictor`, or the model fails.
    """
    import numpy as np

    with open_predictor(job) as predictor:
        shape = (job.batch_size, *predictor.manifest.preprocess.size_hw, 3)
        try:
            predictor.raw_outputs_of(np.zeros(shape, np.uint8))
        except BackendError as error:
            raise BackendError(f"{job.bundle}: {job.settings.model} fails at its first run: {error}") from None


def _unexpected(path: str, error: Exception) -> NoPredictionError:
    _log.error("%s: unexpected error", path, exc_info=error)
    return NoPredictionError(Status.INFERENCE_FAILED, f"{path}: unexpected {type(error).__name__}: {error}")
