"""Runs a model bundle on a camera, a stream, a video or images: torch-free, this folder is all it needs."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING

# numpy is for small arrays here; its linear algebra would start a thread for each core, and let them spin, at each start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # our own messages say what OpenCV's warnings hint at
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # damaged packets of a stream would fill the log

from cvforge_edge.cli import hold_hangup, leave, run_command
from cvforge_edge.standard_error import keep_standard_error

if TYPE_CHECKING:
    from cvforge_edge.bundle import Bundle


def main() -> int:
    """Run the command line; the exit code is the result."""
    from cvforge_edge.camera_options import parse_options

    options = parse_options(sys.argv[1:])
    from cvforge_edge.checked_bundle import accept, open_bundle_to_start, self_test
    from cvforge_edge.log_file import set_up_logging
    from cvforge_edge.model_options import keep_to_cpus
    from cvforge_edge.output_options import plan_outputs

    set_up_logging(quiet=options.quiet, path=options.log)
    keep_to_cpus(options.cpus)
    options.outputs = plan_outputs(options)
    bundle = open_bundle_to_start(options)
    backend = options.backend
    if options.self_test:
        backend = self_test(options, bundle)
    if options.source is not None:
        return run(options, bundle, backend=backend)
    accept(options, bundle)
    return 0


def run(options: argparse.Namespace, bundle: Bundle, *, backend: str | None) -> int:
    """Run the model over the sources; the exit code.

    Raises:
        EdgeError: bundle, source, model or a sink fails.
    """
    from cvforge_edge.camera_run import CameraRun

    with contextlib.ExitStack() as resources:
        return CameraRun(options, bundle, backend=backend, resources=resources).go()


if __name__ == "__main__":
    gc.disable()  # until `run` has everything that it needs: there is no garbage before, and to look for it takes long
    keep_standard_error()
    hold_hangup()  # a reload that is asked for while the model loads comes after it
    leave(run_command(main))
