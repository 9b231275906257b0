"""What the trainer costs beside a bare PyTorch loop: same net, same batches, same optimiser, rounds in turn.

    python benchmarks/train_overhead.py --config det_demo.yaml --batches 20 --rounds 5

Prints images per second of both for every round, and the ratio (ours / bare) with its median, lowest and highest. The
bare loop has forward, loss, backward, gradient clipping, optimiser and schedule; ours also averages the weights, seeds
each step, writes the history and keeps the user informed. A round of each runs before the rounds that count. On a machine
that others use, `--clock cpu trainer.threads=1` counts processor time, which neighbours change less than the wall clock.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from cvforge.callbacks.checkpoints import RunCheckpoints, SafeCheckpointIO
from cvforge.callbacks.ema import WeightsEMA
from cvforge.callbacks.history import CsvHistory
from cvforge.callbacks.progress import ProgressLines
from cvforge.callbacks.random_state import SeedEachStep, seed_everything
from cvforge.callbacks.tensorboard_log import TensorBoardLog
from cvforge.config import build
from cvforge.config.load import load
from cvforge.config.schema import Config
from cvforge.fit import TASKS
from cvforge.tasks.hardware import Hardware, choose_hardware
from cvforge.tasks.optimiser import build_optimiser, learning_rate_factor
from cvforge.tasks.quiet import quiet_lightning
from cvforge.tasks.trainer import build_trainer

WARM_BATCHES = 2  # of every round, not counted
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]


class Stopwatch(pl.Callback):
    """Notes when each batch ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ends_s: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Look at the clock."""
        self.ends_s.append(self.clock())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="det_demo.yaml")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("overrides", nargs="*")
    return parser


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_intermixed_args()
    config = load(arguments.config, ["data.num_workers=0", *arguments.overrides])
    trainer = config.trainer
    hardware = choose_hardware(
        accelerator=trainer.accelerator, precision=trainer.precision, threads=trainer.threads, processes=1
    )
    hardware.apply()
    data = build.build_data(config)
    seed_everything(config.run.seed)
    net = build.build_net(config)
    clock = CLOCKS[arguments.clock]
    batches = first_batches(data, WARM_BATCHES + arguments.batches)
    rounds = []
    for number in range(arguments.rounds + 1):
        pair = {
            "bare": bare_images_per_second(config, hardware, copy.deepcopy(net), batches, clock=clock),
            "ours": our_images_per_second(
                config, hardware, copy.deepcopy(net), batches, labels=data.labels, clock=clock
            ),
        }
        if number:
            rounds.append(pair)
            ratio = pair["ours"] / pair["bare"]
            print(f"round {number}: bare {pair['bare']:.2f}  ours {pair['ours']:.2f} images/s  ratio {ratio:.3f}")
    report(rounds, hardware, arguments.json)


def report(rounds: list[dict[str, float]], hardware: Hardware, path: Path | None) -> None:
    """Print the ratio with its spread."""
    ratios = sorted(pair["ours"] / pair["bare"] for pair in rounds)
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {hardware}"
    print(f"ratio: median {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f}; {machine}")
    if path is not None:
        path.write_text(json.dumps({"rounds": rounds, "machine": machine}, indent=2) + "\n", encoding="utf-8")


def first_batches(data: Any, count: int) -> list[Any]:
    """Batches of as many epochs as it takes."""
    loader, batches = data.train_dataloader(), []
    while len(batches) < count:
        loader.sampler.set_epoch(len(batches))
        batches.extend(loader)
    return batches[:count]


def bare_images_per_second(
    config: Config, hardware: Hardware, net: torch.nn.Module, batches: list[Any], *, clock: Clock
) -> float:
    """A loop as one writes it by hand, with the same number format, memory order and clipping."""
    device = torch.device("cuda" if hardware.accelerator == "gpu" else hardware.accelerator)
    net = net.to(device, memory_format=torch.channels_last).train()
    loss = build.build_loss(config)
    optimiser = build_optimiser(net, config.optim)
    factor = learning_rate_factor(config.optim, steps_per_epoch=len(batches), total_steps=len(batches))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    mixed = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(hardware.precision)
    for number, batch in enumerate(batches):
        moved = batch.to(device)
        with torch.autocast(device.type, mixed, enabled=mixed is not None):
            terms = net.losses(moved.images, moved.targets) if loss is None else loss(net(moved.images), moved.targets)
            total = sum(terms.values())
        optimiser.zero_grad()
        total.backward()
        if config.trainer.gradient_clip_norm:
            torch.nn.utils.clip_grad_norm_(net.parameters(), config.trainer.gradient_clip_norm)
        optimiser.step()
        schedule.step()
        if number + 1 == WARM_BATCHES:
            started_s = end_s(device, clock)
    counted = sum(len(batch.images) for batch in batches[WARM_BATCHES:])
    return counted / (end_s(device, clock) - started_s)


def our_images_per_second(
    config: Config,
    hardware: Hardware,
    net: torch.nn.Module,
    batches: list[Any],
    *,
    labels: tuple[str, ...],
    clock: Clock,
) -> float:
    """The trainer with everything that a run has, except validation."""
    task = TASKS[config.task](
        net,
        build.build_loss(config),
        metric=build.build_metric(config, labels),
        optim=config.optim,
        scoring=build.build_evaluation_postprocess(config),
    )
    stopwatch = Stopwatch(clock)
    with tempfile.TemporaryDirectory() as name, quiet_lightning():
        folder = Path(name)
        checkpoints = RunCheckpoints(folder / "checkpoints", monitor=task.monitor)
        callbacks = [SeedEachStep(config.run.seed), WeightsEMA(config.optim.ema_decay or 0.999)]
        callbacks += [ProgressLines(checkpoints, inside_epochs=True), checkpoints, stopwatch]
        section = copy.deepcopy(config.trainer)
        section.max_epochs, section.limit_val_batches = 1, 0
        trainer = build_trainer(
            section,
            hardware,
            callbacks=callbacks,
            loggers=[CsvHistory(folder / "metrics.csv"), TensorBoardLog(folder / "tensorboard")],
            plugins=[SafeCheckpointIO()],
            folder=folder,
        )
        loader = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)
        trainer.fit(task, loader, loader)
    counted = sum(len(batch.images) for batch in batches[WARM_BATCHES:])
    return counted / (stopwatch.ends_s[-1] - stopwatch.ends_s[WARM_BATCHES - 1])


def end_s(device: torch.device, clock: Clock) -> float:
    """The time when the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock()


if __name__ == "__main__":
    main()
