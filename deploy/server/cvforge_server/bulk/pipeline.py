"""Parts through workers of Ray Data: each item of the pipeline is the name of a part, each worker an actor with the model.

An actor that dies is started again by Ray, without a limit, and its part is handed out once more; `deaths` sees to it that an
image which kills actors is left out in the end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cvforge_edge.errors import EdgeError
from cvforge_server.bulk.cluster import gpus_per_worker, resources
from cvforge_server.bulk.job import BulkJob
from cvforge_server.bulk.part_name import PartName
from cvforge_server.bulk.worker import Worker
from cvforge_server.errors import ServerError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_BLOCKS = 2000
"""Of a data set: what Ray keeps about each costs memory and time, and one of several parts is handed out as one."""


def make_parts(job: BulkJob, parts: Sequence[PartName], *, workers: int) -> Iterator[dict[str, int]]:
    """Have parts made, in any order; gives for each, when it stands, how many of its images have each status.

    Args:
        job: what the workers are told.
        parts: at least one.
        workers: how many; Ray must run.

    Raises:
        EdgeError: what a worker raised.
        ServerError: Ray failed.
    """
    import ray
    import ray.data

    _quiet()
    gpus = gpus_per_worker(workers, backend=job.settings.backend, gpus=resources().get("GPU", 0))
    items = [{"list_number": part.list_number, "number": part.number} for part in parts]
    made = ray.data.from_items(items, override_num_blocks=min(len(items), MOST_BLOCKS)).map_batches(
        PartMaker,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        num_cpus=job.threads,
        num_gpus=gpus or None,
    )
    try:
        for row in made.iter_rows():
            yield json.loads(row["statuses"])
    except ray.exceptions.RayError as error:
        raise _reason(error) from None


class PartMaker:
    """What Ray Data calls: a `Worker` behind columns.

    Args:
        job: what to do.
    """

    def __init__(self, job: BulkJob) -> None:
        import cv2

        cv2.setNumThreads(0)  # one thread a worker: the workers are the parallelism
        self._worker = Worker(job)

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> dict[str, list[Any]]:
        """Make the parts of a batch of names.

        Raises:
            EdgeError: as `Worker.make_part`.
        """
        names = zip(batch["list_number"], batch["number"], strict=True)
        made = [self._worker.make_part(PartName(int(in_list), int(number))) for in_list, number in names]
        return {"statuses": [json.dumps(content.statuses) for content in made]}


def _quiet() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _reason(error: BaseException) -> EdgeError:
    """What a worker raised, from inside of what Ray made of it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, EdgeError):
            return inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ServerError(
        f"Ray: a worker failed for good ({lines[-1]}); parts that stand are whole: run it again to go on"
    )
