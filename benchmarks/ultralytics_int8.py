"""One YOLO11n twice in int8, for `video_throughput.py`: as Ultralytics writes it, and as a bundle of this project.

    VENV/bin/python benchmarks/ultralytics_int8.py --images photos/ --output int8/
    VENV/bin/python benchmarks/ultralytics_int8.py --images photos/ --output int8_192x320/ --size 192,320

VENV is an environment with ultralytics (AGPL-3.0; never a dependency, only here) and this project with its export extra. Its
exporter writes `yolo11n_int8.tflite`; ours traces the same network and writes `bundle/`. Both measure ranges on all images.

Weights are random: int8 kernels take the same time whatever they multiply. Batch norms get their statistics from the images,
so that ranges of layers are those of a trained network and all scales fit the fast kernels. It finds no objects.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cvforge.commands.import_options import size
from cvforge.commands.terminal import stage_bars
from cvforge.config.schema import ExportSection
from cvforge.data.unlabelled import UnlabelledImages
from cvforge.export.bundle import write_bundle
from cvforge.export.plan import ExportPlan
from cvforge.export.source import network_source
from cvforge.export.verify import Scoring
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Task

QUIET = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
"""Environment of Ultralytics: it installs and asks nothing."""
CLASSES = 80
NAME = "yolo11n"
BATCH = 26


class Contract(nn.Module):
    """The network with the input and outputs of our graph contract."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Boxes (1, n, 4) as corners in input pixels and scores (1, n, 80); images are (1, h, w, 3) uint8 RGB."""
        found = self.net(images.permute(0, 3, 1, 2).float() / 255)
        rows = (found if isinstance(found, torch.Tensor) else found[0]).transpose(1, 2)
        centre, half = rows[..., :2], rows[..., 2:4] / 2
        return {"boxes": torch.cat([centre - half, centre + half], dim=2), "scores": rows[..., 4:]}


def random_network(inputs: torch.Tensor) -> Any:
    """A YOLO11n of seed 0 whose batch norms know images (n, 3, h, w) in [0, 1]."""
    from ultralytics import YOLO

    torch.manual_seed(0)
    model = YOLO(f"{NAME}.yaml", task="detect")
    norms = [module for module in model.model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    model.model.train()
    with torch.no_grad():
        for batch in inputs.split(BATCH):
            model.model(batch)
    return model


def write_theirs(images: Path, weights: Path, size_hw: tuple[int, int]) -> Path:
    """The file of its own exporter, beside the weights."""
    from ultralytics import YOLO

    names = ", ".join(f"{number}: class{number}" for number in range(CLASSES))
    data = weights.with_name("data.yaml")
    folder = images.resolve()
    data.write_text(f"path: {folder.parent}\ntrain: {folder.name}\nval: {folder.name}\nnames: {{{names}}}\n")
    made = YOLO(weights).export(format="litert", quantize=8, imgsz=list(size_hw), data=str(data))
    return Path(made)


def write_ours(dataset: UnlabelledImages, weights: Path, target: Path, *, spec: PreprocessSpec) -> None:
    """The bundle."""
    from ultralytics import YOLO

    net = YOLO(weights).model.float().fuse().eval()
    net.model[-1].export = True
    calibration = [spec.apply(dataset[index].image_bgr)[0] for index in range(len(dataset))]
    section = ExportSection()
    plan = ExportPlan(
        name=NAME,
        task=Task.DETECTION,
        labels=tuple(f"class{number}" for number in range(CLASSES)),
        preprocess=spec,
        postprocess=PostprocessSpec("detection_nms", 0.25, 0.7, 300),
        formats=("tflite",),
        precisions=("fp32", "int8"),
        metric_budget=section.metric_budget,
        tensor_tolerance={**section.tensor_tolerance, "int8": 100.0},  # random weights: nothing is lost
        tensor_peak={**section.tensor_peak, "int8": 100.0},
        golden_images=4,
        split="images without truth",
        data_fingerprint=dataset.fingerprint(),
        run_id="random",
    )
    contract = Contract(net)
    contract.predict(torch.zeros((1, *spec.size_hw, 3), dtype=torch.uint8))  # places of cells become constants
    scoring = Scoring(dataset, None, plan.postprocess)
    source = network_source(contract)
    with stage_bars() as stages:
        write_bundle(
            source, scoring, plan, target=target, replace_existing=True, stages=stages, calibration=calibration
        )


def main() -> int:
    """Write both."""
    options = _parser().parse_args()
    os.environ.update(QUIET)
    options.output.mkdir(parents=True, exist_ok=True)
    dataset, spec = UnlabelledImages(options.images), PreprocessSpec(options.size)
    prepared = [torch.from_numpy(spec.apply(dataset[index].image_bgr)[0]) for index in range(len(dataset))]
    inputs = torch.stack([image.reshape(*options.size, 3) for image in prepared]).permute(0, 3, 1, 2).float() / 255
    weights = options.output / f"{NAME}.pt"
    random_network(inputs).save(weights)
    print(write_theirs(options.images, weights, options.size))
    write_ours(dataset, weights, options.output / "bundle", spec=spec)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path, metavar="FOLDER", help="about a hundred photos")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--size", type=size, default=(320, 320), metavar="H,W", help="(default 320,320)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
