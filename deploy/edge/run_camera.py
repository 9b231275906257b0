"""Runs a model bundle on a camera, a stream, a video or images: torch-free, this folder is all it needs."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

# numpy is for small arrays here; its linear algebra would start a thread for each core, and let them spin, at each start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # our own messages say what OpenCV's warnings hint at
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # damaged packets of a stream would fill the log

from cvforge_edge.cli import INTERRUPTED, hold_hangup, leave, run_command

if TYPE_CHECKING:
    from cvforge_edge.arrangement import Arrangement
    from cvforge_edge.bundle import Bundle
    from cvforge_edge.model_options import Running, Watched
    from cvforge_edge.sessions import FramePredictor
    from cvforge_edge.status import StatusBoard
    from cvforge_edge.step_options import StepPlan
    from cvforge_edge.steps.step import Step

logger = logging.getLogger("run_camera")


def main() -> int:
    """Run the command line; the exit code is the result."""
    from cvforge_edge.camera_options import parse_options

    options = parse_options(sys.argv[1:])
    from cvforge_edge.log_file import set_up_logging
    from cvforge_edge.model_options import keep_to_cpus
    from cvforge_edge.output_options import plan_outputs

    set_up_logging(quiet=options.quiet, path=options.log)
    keep_to_cpus(options.cpus)
    options.outputs = plan_outputs(options)
    bundle = open_checked_bundle(options)
    backend = options.backend
    if options.self_test:
        backend = self_test(options, bundle)
    return run(options, bundle, backend=backend) if options.source is not None else 0


def open_checked_bundle(options: argparse.Namespace) -> Bundle:
    """The bundle, once signature, version and every byte are as they should be.

    Raises:
        EdgeError: the bundle is damaged, not signed by a trusted key, or older than what was accepted.
    """
    from cvforge_edge.bundle import open_bundle

    if options.trust is None:
        return open_bundle(options.bundle)
    from cvforge_edge.trust import read_trust
    from cvforge_edge.versions import Release, accepted_release, check_not_older, default_record_path

    options.accepted = options.accepted or default_record_path()
    bundle = open_bundle(options.bundle, trust=read_trust(options.trust))
    name = bundle.manifest.name
    check_not_older(accepted_release(options.accepted, name), Release.of(bundle), name=name)
    _say(options, f"{name} version {bundle.manifest.version}, signed by {', '.join(map(str, bundle.signers))}")
    return bundle


def accept(options: argparse.Namespace, bundle: Bundle) -> None:
    """From now on this device refuses older versions of the model; only once it has proved that it works here."""
    if options.trust is not None:
        from cvforge_edge.versions import Release, accept_release

        accept_release(options.accepted, bundle.manifest.name, Release.of(bundle))


def self_test(options: argparse.Namespace, bundle: Bundle) -> str:
    """Replay the bundle's golden vectors; the name of the backend that computes rightly here.

    Raises:
        EdgeError: the golden vectors are damaged, or this device does not reproduce them.
    """
    from cvforge_edge.selftest import run_self_test

    threads = options.threads if isinstance(options.threads, int) else 1
    report = run_self_test(bundle, backend=options.backend, precision=options.precision, threads=threads)
    accept(options, bundle)
    _say(
        options,
        f"self-test passed: {report.model} on {report.backend}, {report.items} golden images, largest error of a raw "
        f"output {report.worst_output_error:.2g} of its range",
    )
    return report.backend


def run(options: argparse.Namespace, bundle: Bundle, *, backend: str | None) -> int:
    """Run the model over the source; the exit code.

    Raises:
        EdgeError: bundle, source, model or a sink fails.
    """
    import cv2

    from cvforge_edge.arrangement import Arrangement
    from cvforge_edge.evidence.options import open_evidence
    from cvforge_edge.model_options import Running, arrange, open_predictors
    from cvforge_edge.pipeline import run_pipeline
    from cvforge_edge.progress import Progress
    from cvforge_edge.sinks.open import open_sinks
    from cvforge_edge.source_options import frames_to_come, open_sources, source_settings
    from cvforge_edge.starting_board import starting_board
    from cvforge_edge.step_options import plan_steps
    from cvforge_edge.supervision import supervised
    from cvforge_edge.web.options import open_web_sinks

    cv2.setNumThreads(1)  # resizing a frame is too short to share; --threads is for the network
    stop = threading.Event()
    settings = source_settings(options)
    plan = plan_steps(options, bundle.manifest)
    with contextlib.ExitStack() as resources:
        # First, since it fails where no model fits: a camera may take long to answer.
        board = starting_board(bundle, backend=backend, precision=options.precision)
        sources = resources.enter_context(open_sources(options.source, settings))
        plan.check_sources([source.name for source in sources])
        live = any(source.live for source in sources)
        arrangement = arrange(options, bundle, sources, backend=backend, say=lambda text: _say(options, text))
        evidence = open_evidence(options, bundle, names=[source.name for source in sources])
        watched = None if evidence is None else evidence.watched
        if evidence is not None:
            resources.callback(evidence.close)
        predictors = open_predictors(options, bundle, arrangement, backend=backend, warm_up=live, watched=watched)
        for predictor in predictors:
            resources.callback(predictor.close)
        accept(options, bundle)
        web = open_web_sinks(options, board, cameras=len(sources), resources=resources)
        outputs = options.outputs.open(sources=sources, resources=resources)
        sinks = open_sinks(
            sources,
            save=options.save,
            json_lines=options.json,
            title=bundle.manifest.name if options.show else None,
            stop=stop,
            rotation=options.outputs.rotation,
        )
        sinks += [
            *outputs,
            *([] if evidence is None else [evidence]),
            *web,
        ]  # web last: what another sink has drawn is not drawn again
        for page in web:
            if page.made_token is not None or not options.quiet:
                print(page.greeting, file=sys.stderr)
        progress = Progress(sys.stderr, total=frames_to_come(sources, options.max_frames))
        running = Running(bundle, backend)
        one_more = Arrangement(1, arrangement.threads)
        spare = lambda: load_spare(options, running, one_more, watched=watched)  # noqa: E731
        steps = [plan.steps_for(source.name) for source in sources]
        again = lambda: load_again(  # noqa: E731
            options, running, arrangement, board=board, watched=watched, plan=plan, steps=[*chain.from_iterable(steps)]
        )
        if live or len(sources) > 1:  # called last, also after an error
            resources.callback(lambda: _say(options, "\n".join(camera.line() for camera in board.snapshot().cameras)))
        gc.freeze()  # what a start has made stays: no collection looks through it, now or later
        gc.enable()
        with (
            supervised(options, board=board, stop=stop, spare=spare, reload=again) as care,
            contextlib.closing(progress),
        ):
            summary = run_pipeline(
                sources,
                predictors,
                sinks=sinks,
                stop=stop,
                steps=[
                    [*own, *([] if evidence is None else [evidence.step(number)])] for number, own in enumerate(steps)
                ],
                max_frames=options.max_frames,
                on_frame=None if options.quiet else progress.update,
                board=board,
                care=care,
            )
        _say(options, "\n".join([*summary.lines(), *(f"  {sink.summary()}" for sink in sinks)]))
        return INTERRUPTED if summary.interrupted and not options.show else 0


def load_spare(
    options: argparse.Namespace, running: Running, arrangement: Arrangement, *, watched: Watched | None
) -> FramePredictor:
    """One more model of the bundle that runs, from files that are still what was checked.

    Raises:
        EdgeError: the bundle was altered or replaced meanwhile, or cannot be loaded.
    """
    from cvforge_edge.errors import BundleError
    from cvforge_edge.model_options import open_predictors

    bundle = open_checked_bundle(options)
    if bundle.manifest_sha256 != running.bundle.manifest_sha256:
        raise BundleError(
            f"{bundle.folder}: is another bundle than the one that runs; reload it (SIGHUP), or restart the program"
        )
    return open_predictors(
        options, running.bundle, arrangement, backend=running.backend, warm_up=True, watched=watched
    )[0]


def load_again(
    options: argparse.Namespace,
    running: Running,
    arrangement: Arrangement,
    *,
    board: StatusBoard,
    watched: Watched | None,
    plan: StepPlan,
    steps: Sequence[Step],
) -> list[FramePredictor]:
    """The bundle as it is now, checked and tested like at the start: one model for each session.

    It then is the running one, and the steps go by its score threshold.

    Raises:
        EdgeError: it does not pass, or it is a model of another task or other labels.
    """
    from cvforge_edge.model_options import open_predictors
    from cvforge_edge.reload import check_exchangeable
    from cvforge_edge.starting_board import model_fields
    from cvforge_edge.step_options import usual_score

    bundle = open_checked_bundle(options)
    check_exchangeable(running.bundle.manifest, bundle.manifest)
    backend = self_test(options, bundle) if options.self_test else options.backend
    predictors = open_predictors(options, bundle, arrangement, backend=backend, warm_up=True, watched=watched)
    accept(options, bundle)
    running.bundle, running.backend = bundle, backend
    replace(plan, score_threshold=usual_score(options, bundle.manifest.postprocess)).retune(steps)
    board.update(**model_fields(bundle, backend=backend, precision=options.precision))
    return predictors


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        print(text, file=sys.stderr)


if __name__ == "__main__":
    gc.disable()  # until `run` has everything that it needs: there is no garbage before, and to look for it takes long
    hold_hangup()  # a reload that is asked for while the model loads comes after it
    leave(run_command(main))
