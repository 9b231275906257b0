"""`tools/predict.py --ray`: from its options to a folder of results, with a line about how far it is."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import UsageError
from cvforge_edge.predictor import choose_model
from cvforge_edge.progress import Progress
from cvforge_edge.records import dataclass
from cvforge_edge.trust import read_optional_trust
from cvforge_edge.types import Task
from cvforge_server.bulk.cluster import check_reachable, free_cores, require_ray, running_ray, workers_of_cluster
from cvforge_server.bulk.folder import Plan, locked_folder, plan_parts, remove_drafts
from cvforge_server.bulk.job import BulkJob
from cvforge_server.bulk.listing import absolute_source
from cvforge_server.bulk.part_name import PARTS
from cvforge_server.bulk.pipeline import make_parts
from cvforge_server.bulk.schema import Status
from cvforge_server.bulk.settings import MAX_MEGAPIXELS, BulkSettings
from cvforge_server.bulk.worker import warm_up

DONE, NOTHING_ANSWERED, INTERRUPTED = 0, 4, 130
BATCH_SIZE = 8


@dataclass(frozen=True)
class BulkRequest:
    """What the user asks for; None where nothing was said.

    Attributes:
        bundle: folder of the bundle.
        source: folder, list, pattern or image.
        output: folder of results.
        backend: a name in `cvforge_edge.backends.BACKENDS`.
        precision: `fp32`, `fp16` or `int8`.
        threads: processor threads of a worker.
        trust: public keys, one of which must have signed the bundle.
        batch: the model of the batch form.
        batch_size: images that one forward pass takes at most.
        score_threshold: detection: lowest score of an object.
        workers: processes with the model.
        ray_address: of a cluster.
        part_images: images in a part.
        max_megapixels: of an image that is decoded.
        retry_errors: make parts again that have images without a prediction.
    """

    bundle: Path
    source: str
    output: Path
    backend: str | None = None
    precision: str | None = None
    threads: int | None = None
    trust: Path | None = None
    batch: bool = False
    batch_size: int | None = None
    score_threshold: float | None = None
    workers: int | None = None
    ray_address: str | None = None
    part_images: int | None = None
    max_megapixels: float | None = None
    retry_errors: bool = False


def predict_in_bulk(request: BulkRequest) -> int:
    """Predict every image of the source that has no result in the folder yet; the exit code.

    Raises:
        EdgeError: the request cannot be met, or the work cannot go on; what stands in the folder is whole.
    """
    require_ray()
    if request.ray_address is not None:
        check_reachable(request.ray_address)
    job = _job(request)
    local_workers = request.workers or max(1, free_cores() // job.threads)
    with locked_folder(request.output, job.settings):
        _say(f"listing {request.source} ...")
        plan = plan_parts(job, workers=local_workers, part_images=request.part_images)
        if not plan.pending:
            return _finish(request.output, Counter(plan.done), plan, took_s=0.0)
        if request.ray_address is None:
            warm_up(job)
        _say(f"{plan.pending_images} images to do, {sum(plan.done.values())} done; starting the workers ...")
        processors = local_workers * job.threads
        with running_ray(request.ray_address, processors=processors), _interrupted_by_sigterm():
            workers = request.workers or workers_of_cluster(job.threads, backend=job.settings.backend)
            code = _work(request.output, plan, make_parts(job, plan.pending, workers=workers))
        remove_drafts(job)
        return code


def _job(request: BulkRequest) -> BulkJob:
    """Every check that needs no worker.

    Raises:
        EdgeError: the bundle is damaged or not trusted, has no such model, or an option does not fit it.
    """
    if request.batch_size is not None and not request.batch:
        raise UsageError("--batch-size: only with --batch, which takes the model for several images at once")
    trust = read_optional_trust(request.trust)
    bundle = open_bundle(request.bundle, trust=trust)
    manifest = bundle.manifest
    model, backend = choose_model(bundle, backend=request.backend, precision=request.precision, batch=request.batch)
    if request.score_threshold is not None and manifest.task is not Task.DETECTION:
        raise UsageError(f"--score-threshold: only for detection; {manifest.name} is for {manifest.task.value}")
    settings = BulkSettings(
        name=manifest.name,
        version=manifest.version,
        task=manifest.task.value,
        fingerprint=bundle.manifest_sha256,
        model=model.path,
        backend=backend,
        source=absolute_source(request.source),
        score_threshold=request.score_threshold,
        max_megapixels=request.max_megapixels or MAX_MEGAPIXELS,
    )
    batch_size = (request.batch_size or BATCH_SIZE) if request.batch else 1
    return BulkJob(
        str(request.bundle.absolute()),
        str(request.output.absolute()),
        settings,
        threads=request.threads or 1,
        batch_size=batch_size,
        redo_errors=request.retry_errors,
    )


def _work(output: Path, plan: Plan, parts: Iterable[dict[str, int]]) -> int:
    begun_s = time.monotonic()
    statuses, done = Counter(plan.done), 0
    progress = Progress(sys.stderr, total=plan.pending_images, noun="image")
    try:
        for of_part in parts:
            statuses.update(of_part)
            done += sum(of_part.values())
            progress.update(done)
    except KeyboardInterrupt:
        progress.close()
        _say(f"stopped: {done} of {plan.pending_images} images are done; the same command goes on with the others")
        return INTERRUPTED
    finally:
        progress.close()
    return _finish(output, statuses, plan, took_s=time.monotonic() - begun_s)


def _finish(output: Path, statuses: Counter[str], plan: Plan, *, took_s: float) -> int:
    sys.stdout.write("\n".join(summary(output, statuses, plan, took_s=took_s)) + "\n")
    return DONE if statuses[Status.OK.value] else NOTHING_ANSWERED


def summary(output: Path, statuses: Counter[str], plan: Plan, *, took_s: float) -> list[str]:
    """The last lines of a run.

    Args:
        output: folder of results.
        statuses: of all images in it.
        plan: of this run.
        took_s: how long the workers worked, from their start.
    """
    every, answered = sum(statuses.values()), statuses[Status.OK.value]
    failed = {name: count for name, count in sorted(statuses.items()) if count and name != Status.OK.value}
    told = f" ({', '.join(f'{count} {name}' for name, count in failed.items())})" if failed else ""
    before = sum(plan.done.values())
    lines = [
        f"{every} images: {answered} predicted, {every - answered} with errors{told}"
        + (f"; {before} of them stood there already" if before else "")
    ]
    if took_s:
        rate = plan.pending_images / took_s
        lines.append(
            f"{plan.pending_images} images in {took_s:.1f} s, {rate:.1f} images/s with the start of the workers"
        )
    return [*lines, f"results: {output / PARTS}/*.parquet"]


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """While inside, SIGTERM does what Ctrl-C does; Ray has a handler of its own, which ends the process in its own way."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
