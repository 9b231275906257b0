"""Show what a run or a bundle sees: annotated pictures or video, and one JSON line for each frame."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # our own messages say what OpenCV's warnings hint at
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

try:
    from cvforge.cli import run_command
    from cvforge.commands.options import add_model_options, count, open_chosen_model
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

INTERRUPTED = 130
EXAMPLES = """\
examples:
  python tools/predict.py runs/det_bccd-20261123-101500 --source images/ --output out/
  python tools/predict.py bundles/det_bccd --source clip.mp4 --output out/ --score-threshold 0.5
  python tools/predict.py bundles/det_bccd --source photo.jpg --output out/ --backend onnxruntime

FOLDER/predictions.jsonl has one JSON object a frame; pictures go to FOLDER/annotated/, a video to FOLDER/annotated.mp4.
A device without torch does the same with a bundle: python deploy/edge/run_camera.py --help

exit codes:
  0 done     2 command line     4 an image cannot be read     5 checkpoint     7 bundle     8 source cannot be opened
  10 cannot write     11 inference runtime     130 stopped by a signal; results up to then are complete
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run the model over the source."""
    arguments = _parser().parse_args(argv)
    from cvforge.commands.predict import predict_source

    model = open_chosen_model(arguments)
    with model.predictor:
        predicted = predict_source(
            model,
            arguments.source,
            output=arguments.output,
            score_threshold=arguments.score_threshold,
            max_frames=arguments.max_frames,
        )
    print("\n".join([*predicted.summary.lines(), *predicted.lines]))
    return INTERRUPTED if predicted.summary.interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="predict.py",
        usage="%(prog)s RUN_OR_BUNDLE --source SOURCE --output FOLDER [options]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", type=Path, metavar="RUN_OR_BUNDLE", help="folder of a run or of a bundle")
    add("--source", required=True, metavar="SOURCE", help="image, folder of images, or video")
    add("--output", required=True, type=Path, metavar="FOLDER", help="where results go; made when it is missing")
    add(
        "--score-threshold",
        type=_fraction,
        metavar="S",
        help="detection: leave out what scores less (default: the model's)",
    )
    add("--max-frames", type=count, metavar="N", help="stop after N frames")
    add_model_options(parser)
    return parser


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to 1")
    return value


if __name__ == "__main__":
    raise SystemExit(run_command(main))
