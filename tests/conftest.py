"""Fixtures that every room's tests share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def load_tool(name: str) -> ModuleType:
    """The script `tools/<name>.py` as a module; scripts lie in no package."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("CVFORGE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set CVFORGE_TEST_DATA to a folder that holds it")
    return folder
