"""Cores and a real server with the tiny networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvforge_server.core import Core
from edge.conftest import build_bundle
from server.asking import CoreMaker
from server.bundles import build_batch_bundle
from server.real_server import RealServer, start_server, stop_server


@pytest.fixture
def open_core(tmp_path: Path) -> Iterator[CoreMaker]:
    """Opens the core of a tiny model: `open_core("detector")`, or `open_core("batch", largest_batch=4)`."""
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
    """One real TorchServe for all tests, with `detector` and `segmenter`."""
    folder = tmp_path_factory.mktemp("serve")
    bundles = {
        name: build_bundle(folder / name, name, formats=("onnx",), golden=True) for name in ("detector", "segmenter")
    }
    started = start_server(folder, bundles, start=("--open-inference",))
    yield started
    stop_server(started)
