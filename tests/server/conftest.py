"""Cores with the tiny networks and what they log, and one real server."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvforge_server.core import Core
from cvforge_server.request_log import LOGGERS, write_json_lines
from edge.conftest import build_bundle, two_squares
from server.asking import CoreMaker
from server.bundles import add_reference, build_batch_bundle
from server.real_server import RealServer, start_server, stop_server

JsonLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def json_lines() -> Iterator[JsonLines]:
    """What has been logged since the test began, as the lines of a worker: `json_lines()`."""
    stream = io.StringIO()
    kept = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in LOGGERS}
    handler = write_json_lines(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for name, (level, propagate) in kept.items():
        logger = logging.getLogger(name)
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.fixture
def open_core(tmp_path: Path) -> Iterator[CoreMaker]:
    """Opens the core of a tiny model: `open_core("detector")`, or `open_core("batch", batch_size=4)`."""
    opened: list[Core] = []

    def make(model: str, **options: Any) -> Core:
        folder = tmp_path / model
        if not folder.exists() and model == "batch":
            build_batch_bundle(folder)
        elif not folder.exists():
            build_bundle(folder, model, formats=("onnx", "tflite"), golden=False)
        opened.append(Core.from_bundle(folder, **options))
        return opened[-1]

    yield make
    for core in opened:
        core.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A real TorchServe with the tiny detector, which has reference statistics, and the tiny segmenter, which has none."""
    folder = tmp_path_factory.mktemp("serve")
    bundles = {
        name: build_bundle(folder / name, name, formats=("onnx",), golden=True) for name in ("detector", "segmenter")
    }
    add_reference(bundles["detector"], _bright_pictures(40))
    started = start_server(folder, bundles, options=("--drift-every", 1), start=("--open-inference",))
    yield started
    stop_server(started)


def _bright_pictures(number: int) -> list[np.ndarray]:
    """The two squares in light of many kinds."""
    rng = np.random.default_rng(0)
    return [np.clip(two_squares() + rng.normal(120, 25), 0, 255).astype(np.uint8) for _ in range(number)]
