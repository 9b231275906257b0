"""Import a network that was trained elsewhere: its ONNX file becomes a verified bundle for devices."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cvforge.commands.import_options import names, positive, size, triple, whole_numbers
from cvforge.commands.keys import add_key_option
from cvforge.commands.options import count

EXAMPLES = """\
what happens:
  1. preprocessing (colour order, scale, mean, std) and box decoding are put into the ONNX graph; its own nodes stay as they are
  2. on real images, the new file is compared with the file you gave, run as it is, with both steps in numpy: raw outputs on some,
     boxes or classes on all
  3. with --config, both are scored on the validation set by the code that runs on the device: the only proof that colour order,
     normalisation and label order are those that the network was trained with
  4. the bundle is written: manifest.json, model file, golden/ (real images with expected outputs), model_card.md, which says
     what was proven and what was not
  5. the file is measured on this machine; what it costs goes into NAME.report.html, NAME.pareto.png and NAME.measurements.json

kinds:
KINDS

examples:
  python tools/export.py import --onnx FastestDet.onnx --kind fastestdet --labels annotations/instances_val2017.json \\
      --config det_coco.yaml data.root=/data/coco
  python tools/export.py import --onnx yolo.onnx --kind ultralytics --labels names.txt --images photos/
  python tools/export.py import --onnx yolo.onnx --kind ultralytics --labels names.txt --images photos/ --precision fp32,fp16 \\
      export.tensor_tolerance.fp16=0.05
  python tools/export.py import --onnx net.onnx --kind logits --labels cat,dog --images photos/ \\
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  python tools/export.py import --onnx ssdlite.onnx --kind torchvision --labels names.txt --label-ids 1-11,13-25 --images photos/

then:
  python deploy/edge/run_camera.py --bundle bundles/FastestDet --self-test --source 0 --show

exit codes:
  0 done            2 command line or config, wrong number of labels      3 over budget        4 data or image
  5 no valid ONNX   6 bundle exists (--force replaces it)                 10 cannot write      11 inference runtime
  12 the graph does not fit: inputs, outputs, shapes, values or opset
"""


def main(argv: Sequence[str]) -> int:
    """Parse the command line and make the bundle."""
    arguments = _parser().parse_intermixed_args(argv)
    from cvforge.commands.export_report import print_report
    from cvforge.commands.import_onnx import ImportRequest, import_onnx

    print_report(*import_onnx(ImportRequest(**vars(arguments))))
    return 0


def _parser() -> argparse.ArgumentParser:
    from cvforge.export.heads.table import HEADS

    kinds = "\n".join(f"  {name:<12} {head.summary}; outputs {head.expected}" for name, head in HEADS.items())
    parser = argparse.ArgumentParser(
        prog="export.py import",
        usage="%(prog)s --onnx FILE --kind KIND --labels LABELS (--images FOLDER | --config NAME) [options] [key=value ...]",
        description=__doc__,
        epilog=EXAMPLES.replace("KINDS", kinds),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--onnx", required=True, type=Path, metavar="FILE", help="the network, exported to ONNX")
    add("--kind", required=True, choices=tuple(HEADS), help="what its outputs mean, see below")
    add("--labels", required=True, metavar="LABELS", help="file with one name a line, COCO annotation file, or cat,dog")
    _add_data_options(parser.add_argument_group("real images (one of the two)"))
    _add_input_options(
        parser.add_argument_group("what the network expects of an image (default: as its kind usually does)")
    )
    _add_output_options(parser.add_argument_group("its outputs (default: as its kind usually does)"))
    _add_bundle_options(parser.add_argument_group("the bundle"))
    changes = "changes to the config, for instance data.root=/data/coco; with --images of export.* only"
    add("overrides", nargs="*", metavar="key=value", help=changes)
    return parser


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--images", type=Path, metavar="FOLDER", help="images without truth: outputs are compared, nothing is scored")
    add(
        "--config", metavar="NAME", help="config whose validation set the network is scored on; labels must be the same"
    )
    add("--limit", type=count, metavar="N", help="score on N images only, spread evenly; the bundle says so")


def _add_input_options(group: argparse._ArgumentGroup) -> None:
    from cvforge_edge.preprocess import COLOR_ORDERS, INTERPOLATIONS, RESIZE_MODES

    add = group.add_argument
    add(
        "--size",
        dest="size_hw",
        type=size,
        metavar="H,W",
        help="height and width in pixels, where the graph leaves them open",
    )
    add("--resize", choices=RESIZE_MODES, help="how an image is brought to that size")
    add(
        "--pad-value", type=int, default=114, metavar="N", help="grey level of letterbox borders (default: %(default)s)"
    )
    add("--interpolation", choices=tuple(INTERPOLATIONS), default="linear", help="default: %(default)s")
    add("--color", choices=COLOR_ORDERS, help="order of the channels that the network expects")
    scale_help = "factor of grey levels 0 to 255, before mean and std (default: 1/255)"
    add("--scale", type=positive, metavar="S", help=scale_help)
    add("--mean", type=triple, metavar="A,B,C", help="subtracted after scaling, in the order of --color")
    add("--std", type=triple, metavar="A,B,C", help="divided by after that, in the order of --color")


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--outputs",
        type=names,
        metavar="A,B",
        help="their names in the file, in the order in which the kind lists them",
    )
    ids_help = "torchvision, end2end: the network's number of each label, such as 1-11,13-25 (default: counted on)"
    add("--label-ids", type=whole_numbers, metavar="LIST", help=ids_help)
    add("--score-threshold", type=float, metavar="S", help="lowest score of an object on the device")
    add("--iou-threshold", type=float, metavar="T", help="overlap from which suppression drops the weaker box")
    add("--max-detections", type=count, default=300, metavar="N", help="in one image (default: %(default)s)")


def _add_bundle_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--precision",
        dest="precisions",
        type=names,
        default=("fp32",),
        metavar="LIST",
        help="fp32,fp16 (default: fp32)",
    )
    add("--output", type=Path, metavar="FOLDER", help="the bundle's folder (default: bundles/NAME)")
    add("--name", metavar="NAME", help="of the model on the device (default: the file's name)")
    version_help = (
        "of the bundle (default: %(default)s); raise it with every release, devices with --trust never go back"
    )
    add("--model-version", type=count, default=1, metavar="N", help=version_help)
    add_key_option(group, "--sign", required=False)
    add("--force", action="store_true", help="replace a bundle that is there already, in one step, at the end")
    add("--no-measure", dest="measure", action="store_const", const=False, help="leave out step 5's times and memory")
