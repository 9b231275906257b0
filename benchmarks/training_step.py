"""One training step of the edge detector on a CPU, in the number formats and layouts that the trainer could choose.

    python benchmarks/training_step.py --backbone tf_efficientnet_lite0 --size 320 --batch 16 --rounds 5

Every arrangement runs once a round, in turn, so that a busy neighbour slows all of them; what counts are the ratios.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from cvforge.data.types import BoxTargets
from cvforge.losses.detection import DetectionLoss
from cvforge.models.depthwise import DepthwiseConv2d, DepthwiseConv2dSame
from cvforge.models.edge_detector import EdgeDetector
from cvforge.tasks.hardware import physical_cores

NUM_CLASSES = 3
BOXES_PER_IMAGE = 15
PLAIN = {DepthwiseConv2d: nn.Conv2d, DepthwiseConv2dSame: Conv2dSame}


def main() -> None:
    """Time every arrangement and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=320, help="height and width of the input, in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(physical_cores())
    torch.manual_seed(0)
    net = EdgeDetector(NUM_CLASSES, arguments.backbone).train()
    images = torch.randint(0, 256, (arguments.batch, arguments.size, arguments.size, 3), dtype=torch.uint8)
    targets = _targets(arguments.batch, arguments.size)
    steps = _arrangements(net, images, targets)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds + 1):  # the first round warms up
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    _report({name: values[1:] for name, values in seconds.items()}, arguments)


def _targets(batch: int, size: int) -> BoxTargets:
    corners = torch.rand(batch, BOXES_PER_IMAGE, 2) * size * 0.7
    sides = (0.05 + 0.25 * torch.rand(batch, BOXES_PER_IMAGE, 2)) * size
    return BoxTargets(
        torch.cat((corners, corners + sides), dim=2), torch.randint(0, NUM_CLASSES, (batch, BOXES_PER_IMAGE))
    )


def _arrangements(net: EdgeDetector, images: torch.Tensor, targets: BoxTargets) -> dict[str, Callable[[], None]]:
    chosen = net.to(memory_format=torch.channels_last)
    plain = copy.deepcopy(chosen)
    for module in plain.modules():
        module.__class__ = PLAIN.get(type(module), type(module))
    return {
        "float32": _step(copy.deepcopy(plain), images, targets, bfloat16=False),
        "bfloat16": _step(plain, images, targets, bfloat16=True),
        "bfloat16, own depthwise gradients": _step(chosen, images, targets, bfloat16=True),
    }


def _step(net: EdgeDetector, images: torch.Tensor, targets: BoxTargets, *, bfloat16: bool) -> Callable[[], None]:
    loss = DetectionLoss(NUM_CLASSES)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            terms = loss(net(images), targets)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()

    return step


def _report(seconds: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    baseline = seconds["float32"]
    print(
        f"{date.today()}, torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads, "
        f"{arguments.backbone}, {arguments.size} px, batch {arguments.batch}, {arguments.rounds} rounds"
    )
    print(
        "| arrangement | median s a step | fastest | times as fast as float32: median of rounds (lowest .. highest) |"
    )
    print("|---|---|---|---|")
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(baseline, values, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {spread} |")


if __name__ == "__main__":
    main()
