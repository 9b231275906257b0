"""Show what a run or a bundle sees: annotated pictures or video, and one JSON line for each frame; or Parquet, with --ray."""

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
    from cvforge.errors import ConfigError
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

INTERRUPTED = 130
FRAME_OPTIONS = ("checkpoint", "max_frames")
BULK_OPTIONS = ("workers", "ray_address", "batch_size", "part_images", "max_megapixels", "retry_errors")
EXAMPLES = """\
examples:
  python tools/predict.py runs/det_bccd-20261123-101500 --source images/ --output out/
  python tools/predict.py bundles/det_bccd --source clip.mp4 --output out/ --score-threshold 0.5
  python tools/predict.py bundles/det_bccd --source photo.jpg --output out/ --backend onnxruntime

many images, by many workers, into Parquet (needs the extra `ray`):
  python tools/predict.py bundles/det_bccd --source photos/ --output predictions/ --ray
  python tools/predict.py bundles/det_bccd --source images.txt --output predictions/ --ray --workers 8 --precision int8
  python tools/predict.py bundles/det_bccd --source '/data/2026-*/**/*.jpg' --output /data/found/ --ray --ray-address head:6379

FOLDER/predictions.jsonl has one JSON object a frame; pictures go to FOLDER/annotated/, a video to FOLDER/annotated.mp4.
With --ray the results are FOLDER/parts/*.parquet, and an image that cannot be read has a row with its error. The same
command again does what is missing, whatever ended the first, and what the source has beyond that. docs/bulk.md says more.
A device without torch does the same with a bundle: python deploy/edge/run_camera.py --help

exit codes:
  0 done     2 command line, or no Ray     4 an image cannot be read (--ray: none can)     5 checkpoint
  6 --ray: FOLDER holds other results, or another run works in it     7 bundle     8 source cannot be opened
  10 cannot write     11 inference runtime     14 Ray not started or not reached
  130 stopped by a signal; results up to then are complete
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run the model over the source."""
    arguments = _parser().parse_args(argv)
    if arguments.ray:
        return _predict_in_bulk(arguments)
    _refuse(arguments, BULK_OPTIONS, "only with --ray")
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


def _predict_in_bulk(arguments: argparse.Namespace) -> int:
    _refuse(arguments, FRAME_OPTIONS, "not with --ray, which takes every image of the source, and a bundle")
    if (arguments.model / "config.yaml").is_file():
        raise ConfigError(f"{arguments.model}: is a run; --ray takes a bundle: python tools/export.py --run RUN")
    try:
        from cvforge_server.bulk.command import BulkRequest, predict_in_bulk
    except ModuleNotFoundError:  # a checkout that is not installed is enough
        sys.path.append(str(Path(__file__).resolve().parent.parent / "deploy" / "server"))
        from cvforge_server.bulk.command import BulkRequest, predict_in_bulk

    left_out = {"model", "checkpoint", "max_frames", "ray"}
    given = {name: value for name, value in vars(arguments).items() if name not in left_out}
    return predict_in_bulk(BulkRequest(bundle=arguments.model, **given))


def _refuse(arguments: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Options that would be ignored.

    Raises:
        ConfigError: one of them is given.
    """
    usual = _parser()
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name) != usual.get_default(name)]
    if given:
        raise ConfigError(f"{', '.join(given)}: {reason}")


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
    add(
        "--source",
        required=True,
        metavar="SOURCE",
        help="image, folder of images, or video; with --ray also a list or a pattern",
    )
    add("--output", required=True, type=Path, metavar="FOLDER", help="where results go; made when it is missing")
    add(
        "--score-threshold",
        type=_fraction,
        metavar="S",
        help="detection: leave out what scores less (default: the model's)",
    )
    add("--max-frames", type=count, metavar="N", help="stop after N frames")
    add_model_options(parser)
    _add_bulk_options(parser.add_argument_group("many images"))
    return parser


def _add_bulk_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--ray", action="store_true", help="predict with many workers into Parquet; SOURCE may be a list or a pattern")
    add("--workers", type=count, metavar="N", help="processes with the model (default: one for each core, or GPU)")
    add("--ray-address", metavar="HOST:PORT", help="a cluster that runs (default: Ray on this machine, loopback only)")
    add(
        "--batch-size",
        type=count,
        metavar="N",
        help="with --batch: images that one forward pass takes at most (default: 8)",
    )
    add("--part-images", type=count, metavar="N", help="images in each Parquet file (default: up to 1000)")
    add("--max-megapixels", type=_positive, metavar="MP", help="larger images get an error (default: 200)")
    add("--retry-errors", action="store_true", help="do files again that have images with errors")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number above 0")
    return value


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
