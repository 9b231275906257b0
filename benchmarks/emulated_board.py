"""What the self-test says to the TFLite files of bundles here, on emulated Raspberry Pis, and on a board that computes wrongly.

    python benchmarks/emulated_board.py bundles/det_bccd bundles/seg_camvid
    python benchmarks/emulated_board.py bundles/det_bccd --requirements requirements-tflite-runtime.txt --cpu cortex-a72

The boards are those of `arm_board.py`: Debian 12 for 64-bit ARM under QEMU, with a copy of deploy/edge. Needs debootstrap
and qemu-user-static, and root for the first run. Errors are the largest of all golden images and raw outputs, and the
largest mean, as fractions of the output's range; what is accepted travels in the bundle. Times under an emulator mean
nothing: none are shown. Exit code 1: a file was refused.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arm_board import BAD_BOARD, EDGE, EMULATOR, RASPBERRY_PI_4, RASPBERRY_PI_5, Board, obstacle, set_up_board

FIGURES = Path(__file__).with_name("selftest_figures.py")
HERE = "here"
NAMES = {RASPBERRY_PI_4: "Raspberry Pi 4", RASPBERRY_PI_5: "Raspberry Pi 5", BAD_BOARD: "bad board"}
PRECISIONS = ("fp32", "fp16", "int8")
RUN_LIMIT_S = 3600
BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Row:
    """What became of one file in one place.

    Attributes:
        file: bundle and model file.
        place: this machine, or a processor of the emulator.
        accepted: largest and mean error that the bundle accepts.
        wrong: those of the preferred backend where it does not pass; None where it does.
        errors: those of the backend that passed; None where none did.
        backend: that passed; None where none did.
    """

    file: str
    place: str
    accepted: Sequence[float]
    wrong: Sequence[float] | None
    errors: Sequence[float] | None
    backend: str | None

    def __str__(self) -> str:
        numbers = "".join(f"{_pair(pair):>20}" for pair in (self.accepted, self.wrong, self.errors))
        return f"{self.file:30}{NAMES.get(self.place, self.place):16}{numbers}  {self.backend or 'refused'}"


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 where a file was refused."""
    options = _parser().parse_args(arguments)
    reason = obstacle()
    if reason is not None:
        raise SystemExit(reason)
    rows = []
    with tempfile.TemporaryDirectory(prefix="cvforge-board-") as folder:
        board = set_up_board(Path(folder) / "edge", options.requirements)
        print(_installed(board))
        print(f"{'file':30}{'where':16}{'accepted':>20}{'does not pass':>20}{'passes':>20}  on")
        for row in self_tests(board, options.bundles, cpus=options.cpu, precisions=options.precision):
            print(row, flush=True)
            rows.append(row)
    return 1 if any(row.backend is None for row in rows) else 0


def self_tests(
    board: Board, bundles: Sequence[Path], *, cpus: Sequence[str], precisions: Sequence[str]
) -> Iterator[Row]:
    """A row for each TFLite file of these precisions, here and on each processor."""
    from cvforge_edge.bundle import open_bundle
    from cvforge_edge.golden import GOLDEN_FOLDER, read_golden

    shutil.copy(FIGURES, board.folder)
    for folder in bundles:
        manifest = open_bundle(folder).manifest
        tolerances = read_golden(folder / GOLDEN_FOLDER, task=manifest.task).tolerances
        for model in manifest.models:
            if model.format == "tflite" and model.precision in precisions:
                accepted = tolerances[model.precision].output_max, tolerances[model.precision].output_mean
                for place in (HERE, *cpus):
                    found = _figures(board, place, folder.resolve(), model.precision)
                    yield Row(f"{folder.name}/{model.path}", place, accepted, **found)


def _figures(board: Board, place: str, bundle: Path, precision: str) -> dict[str, Any]:
    if place == HERE:
        done = subprocess.run(
            [sys.executable, str(FIGURES), str(bundle), precision],
            env={**os.environ, "PYTHONPATH": str(EDGE)},
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )
    else:
        done = board.run(FIGURES.name, bundle, precision, cpu=place, timeout_s=RUN_LIMIT_S)
    if done.returncode != 0:
        raise SystemExit(f"{bundle}, {precision}, {place}: ended with code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _installed(board: Board) -> str:
    """What is on the board, and how much room it takes beside Python and the device folder."""
    emulator = subprocess.run([EMULATOR, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[
        0
    ]
    packages = next((board.folder / ".venv" / "lib").iterdir()) / "site-packages"
    names = sorted(path.name.removesuffix(".dist-info").replace("-", " ") for path in packages.glob("*.dist-info"))
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    return f"{emulator}; {size / BYTES_PER_MB:.0f} MB of packages: {', '.join(names)}"


def _pair(errors: Sequence[float] | None) -> str:
    return "" if errors is None else f"{errors[0]:.1e} / {errors[1]:.1e}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("bundles", nargs="+", type=Path, metavar="BUNDLE", help="folder of a bundle with TFLite files")
    add("--requirements", default="requirements.txt", metavar="FILE", help="in deploy/edge (default: %(default)s)")
    add("--precision", type=_names, default=PRECISIONS, metavar="LIST", help="such as fp32,int8 (default: all)")
    cpus = f"processors of the emulator (default: {','.join(NAMES)})"
    add("--cpu", type=_names, default=tuple(NAMES), metavar="LIST", help=cpus)
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
