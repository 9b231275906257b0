"""Runs a model bundle on a camera, a stream, a video or images: torch-free, this folder is all it needs."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import sys
import threading
from typing import TYPE_CHECKING

os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # our own messages say what OpenCV's warnings hint at
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # damaged packets of a stream would fill the log

from cvforge_edge.cli import INTERRUPTED, run_command

if TYPE_CHECKING:
    from cvforge_edge.bundle import Bundle

DESCRIPTION = "Run a model bundle on a camera, a network stream, a video or images."
EPILOG = """examples:
  python run_camera.py --bundle bundle --source clip.mp4 --save out.mp4 --json out.jsonl
  python run_camera.py --bundle bundle --source 0 --show
  python run_camera.py --bundle bundle --source rtsp://camera.local/stream --json results.jsonl
  python run_camera.py --bundle bundle --source photos/ --save annotated/
  python run_camera.py --bundle bundle --source clip.mp4 --json - --quiet | jq .detections
  python run_camera.py --bundle bundle --source 0 --evidence evidence/ --evidence-pictures blurred  # drift, hard frames
  python run_camera.py --bundle bundle --self-test
  python run_camera.py --bundle bundle --trust /etc/cvforge/trust --source 0        # only what a known key has signed

Ctrl-C (SIGINT) or SIGTERM ends a run within a second; videos and JSON files are complete then. The lines of --json are
described at the top of cvforge_edge/sinks/jsonl.py and in README.md.

exit codes:
  0 done (a camera stopped by a signal counts as done)     8 camera, stream or video cannot be opened or was lost
  1 unexpected error                                       9 this device fails the bundle's self-test
  2 wrong options                                         10 a result cannot be stored (disk full, no permission)
  4 an image cannot be read                               11 inference runtime missing or failing
  7 bundle damaged, not trusted or older                 130 stopped by a signal before the end of a file
"""

logger = logging.getLogger("run_camera")


def main() -> int:
    """Run the command line; the exit code is the result."""
    options = parse_options(sys.argv[1:])
    from cvforge_edge.model_options import keep_to_cpus

    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO, format="%(levelname)s %(message)s")
    keep_to_cpus(options.cpus)
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

    from cvforge_edge.camera import open_source
    from cvforge_edge.cli import stop_on_signals
    from cvforge_edge.evidence.options import open_evidence
    from cvforge_edge.model_options import arrange, open_predictors
    from cvforge_edge.pipeline import run_pipeline
    from cvforge_edge.predictor import choose_model
    from cvforge_edge.progress import Progress
    from cvforge_edge.sinks.open import open_sinks

    cv2.setNumThreads(1)  # resizing a frame is too short to share; --threads is for the network
    stop = threading.Event()
    with contextlib.ExitStack() as resources:
        choose_model(bundle, backend=backend, precision=options.precision)  # first: a camera may take long to answer
        source = resources.enter_context(open_source(options.source, reconnect_for_s=options.reconnect_for))
        arrangement = arrange(options, bundle, [source], backend=backend, say=lambda text: _say(options, text))
        predictors = open_predictors(
            options, bundle, arrangement, backend=backend, warm_up=source.live, resources=resources
        )
        accept(options, bundle)
        evidence = open_evidence(options, bundle, names=[source.name])
        if evidence is not None:
            resources.callback(evidence.close)
        sinks = open_sinks(
            source,
            save=options.save,
            json_lines=options.json,
            title=bundle.manifest.name if options.show else None,
            stop=stop,
        )
        sinks += [] if evidence is None else [evidence]
        total = _smaller(source.frame_count, options.max_frames)
        progress = Progress(sys.stderr, total=total)
        with stop_on_signals(stop), contextlib.closing(progress):
            summary = run_pipeline(
                [source],
                predictors if evidence is None else evidence.watched(predictors),
                sinks=sinks,
                stop=stop,
                steps=None if evidence is None else [[evidence.step(0)]],
                max_frames=options.max_frames,
                on_frame=None if options.quiet else progress.update,
            )
        _say(options, "\n".join([*summary.lines(), *(f"  {sink.summary()}" for sink in sinks)]))
        return INTERRUPTED if summary.interrupted and not options.show else 0


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """The checked options; ends the process with code 2 and a message where they are wrong."""
    from cvforge_edge.evidence.options import add_evidence_options

    parser = argparse.ArgumentParser(
        prog="run_camera.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--bundle", required=True, metavar="FOLDER", help="model bundle, as tools/export.py writes it")
    source_help = (
        "camera number (0) or device (/dev/video0), stream (rtsp://...), video file, image, or folder of images"
    )
    parser.add_argument("--source", metavar="SOURCE", help=source_help)
    _add_result_options(parser.add_argument_group("results (any number of them; none only measures the speed)"))
    add_evidence_options(parser.add_argument_group("evidence for the next training"))
    _add_model_options(parser.add_argument_group("model"))
    _add_run_options(parser.add_argument_group("run"))
    options = parser.parse_args(arguments)
    if options.source is None and not options.self_test:
        parser.error("nothing to do: give --source (for instance --source clip.mp4 or --source 0), or --self-test")
    if options.accepted is not None and options.trust is None:
        parser.error("--accepted belongs to --trust: without keys no version is refused")
    if options.source is None and (options.save or options.json or options.show or options.evidence):
        parser.error("--save, --json, --show and --evidence need a --source")
    return options


def _add_result_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--save",
        metavar="PATH",
        help="annotated video (.mp4, .avi, .mkv), or a folder for annotated pictures (folder/)",
    )
    add("--json", metavar="FILE", help="one JSON object a line for each frame; - is standard output")
    add("--show", action="store_true", help="window with the annotated frames; q or Escape ends the run")


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    from cvforge_edge.model_options import add_model_options

    add_model_options(group)
    add = group.add_argument
    trust_help = "folder of public keys (*.pub), or one: run only what one of them has signed (see README.md)"
    add("--trust", metavar="PATH", help=trust_help)
    accepted_help = (
        "where --trust notes the newest version of each model, to refuse older ones (default: see README.md)"
    )
    add("--accepted", metavar="FILE", help=accepted_help)
    add("--self-test", action="store_true", help="replay the bundle's golden vectors first; alone: only that")


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    from cvforge_edge.option_types import count, seconds

    add = group.add_argument
    add("--max-frames", type=count, metavar="N", help="end after so many frames")
    reconnect_help = "how long a lost camera or stream is tried again (default: for ever)"
    add("--reconnect-for", type=seconds, default=math.inf, metavar="SECONDS", help=reconnect_help)
    add("--quiet", action="store_true", help="no progress and no summary, only warnings and errors")


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        print(text, file=sys.stderr)


def _smaller(a: int | None, b: int | None) -> int | None:
    known = [value for value in (a, b) if value is not None]
    return min(known) if known else None


if __name__ == "__main__":
    sys.exit(run_command(main))
