"""Imports only go down the layers of the architecture, and siblings never import each other."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

LEVELS = {
    "cvforge_edge": 0,
    "cvforge.errors": 1,
    "cvforge.cli": 1,
    "cvforge.config": 1,
    "cvforge.environment": 1,
    "cvforge.runs": 1,
    "cvforge.evaluation": 1,
    "cvforge.history": 1,
    "cvforge.html": 1,
    "cvforge.checkpoint": 2,
    "cvforge.latency": 2,
    "cvforge.data": 2,
    "cvforge.models": 2,
    "cvforge.losses": 2,
    "cvforge.metrics": 2,
    "cvforge.tasks": 3,
    "cvforge.callbacks": 3,
    "cvforge.report": 3,
    "cvforge.fit": 4,
    "cvforge.export": 4,
    "cvforge.flash": 4,
    "cvforge.loop": 4,
    "cvforge.tune": 5,
    "cvforge.commands": 6,
}
"""The level of each package; `cvforge` itself (the version) belongs to the lowest."""

DEVICE_PACKAGES = {"numpy", "cv2", "cvforge_edge"}
INFERENCE_RUNTIMES = {"ai_edge_litert", "onnxruntime", "tflite_runtime"}
OPTIONAL_PACKAGES = {
    "signature.py": {"cryptography"},
    "picamera.py": {"picamera2"},
    "mqtt_connection.py": {"paho"},
    "yaml_text.py": {"yaml"},
}
"""Imported by one file of the device each, when its function is used."""
SERVER_PACKAGES = {"numpy", "cv2", "cvforge_edge", "cvforge_server"}
SHELL_PACKAGES = {
    "rayserve/application.py": {"ray"},
    "rayserve/form.py": {"python_multipart"},
    "rayserve/meters.py": {"ray"},
    "rayserve/reading.py": {"starlette"},
    "rayserve/replica.py": {"ray", "starlette"},
    "bulk/cluster.py": {"ray"},
    "bulk/pipeline.py": {"ray"},
    **{f"bulk/{name}.py": {"pyarrow"} for name in ("folder", "image_list", "listing", "part_file", "schema")},
    "torchserve/meters.py": {"ts"},
    "torchserve/process_group.py": {"psutil"},
    "torchserve/server_files.py": {"yaml"},
    "cvforge_server/grpc_client.py": {"grpc", "google"},
}
"""Of what stands around the core, by file."""
SERVER_SHELLS = (
    "cvforge_server.bulk",
    "cvforge_server.torchserve",
    "cvforge_server.rayserve",
    "cvforge_server.commands",
    "cvforge_server.client",
    "cvforge_server.grpc_client",
)
TRAINER_ONLY = {"torch", "torchvision", "pytorch_lightning", "timm", "segmentation_models_pytorch", "albumentations"}


def _sources(folder: str) -> list[Path]:
    return sorted((REPOSITORY / folder).rglob("*.py"))


def _imports(path: Path) -> list[str]:
    """Every module that a file imports, wherever in the file it does."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _module(path: Path) -> str:
    relative = path.relative_to(REPOSITORY)
    parts = relative.parts[2:] if relative.parts[:2] == ("deploy", "edge") else relative.parts
    return ".".join(parts).removesuffix(".py").removesuffix(".__init__")


def _package(module: str) -> str | None:
    """The entry of LEVELS that a module belongs to; None for other people's packages and `cvforge` itself."""
    found = [name for name in LEVELS if module == name or module.startswith(name + ".")]
    return max(found, key=len) if found else None


def _level_one_sources() -> list[Path]:
    return [path for path in _sources("cvforge") if LEVELS.get(_package(_module(path)) or "") == 1]


@pytest.mark.parametrize("path", _sources("cvforge"), ids=_module)
def test_an_import_goes_down_and_never_to_a_sibling(path: Path) -> None:
    own = _package(_module(path))
    if own is None:
        assert _module(path) == "cvforge", f"{path}: give this package a level in tests/test_layers.py"
        return
    wrong = [
        name
        for name in _imports(path)
        if (other := _package(name)) is not None and other != own and LEVELS[other] >= max(LEVELS[own], 2)
    ]
    up = [name for name in _imports(path) if (other := _package(name)) and LEVELS[other] > LEVELS[own]]
    assert wrong + up == [], f"{path}: level {LEVELS[own]} imports {sorted(set(wrong + up))}"


@pytest.mark.parametrize("path", _level_one_sources(), ids=_module)
def test_level_one_imports_no_training_library(path: Path) -> None:
    found = {name.split(".")[0] for name in _imports(path)} & TRAINER_ONLY
    assert found == set(), f"{path}: imports {found}"


@pytest.mark.parametrize("path", _sources("deploy/edge"), ids=lambda p: p.name)
def test_device_code_imports_only_what_a_device_has(path: Path) -> None:
    roots = {name.split(".")[0] for name in _imports(path)} - set(sys.stdlib_module_names)
    allowed = DEVICE_PACKAGES | (INFERENCE_RUNTIMES if path.parent.name == "backends" else set())
    allowed |= OPTIONAL_PACKAGES.get(path.name, set())
    assert roots <= allowed, f"{path}: imports {sorted(roots - allowed)}"


@pytest.mark.parametrize("path", _sources("deploy/server"), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_server_code_imports_neither_torch_nor_the_trainer(path: Path) -> None:
    roots = {name.split(".")[0] for name in _imports(path)} - set(sys.stdlib_module_names)
    allowed = SERVER_PACKAGES | SHELL_PACKAGES.get(f"{path.parent.name}/{path.name}", set())
    assert roots <= allowed, f"{path}: imports {sorted(roots - allowed)}"


def _core_sources() -> list[Path]:
    """Of the server, without the clients."""
    found = _sources("deploy/server/cvforge_server")
    return [path for path in found if path.parent.name == "cvforge_server" and not path.stem.endswith("client")]


@pytest.mark.parametrize("path", _core_sources(), ids=lambda p: p.name)
def test_the_core_of_the_server_knows_no_shell_around_it(path: Path) -> None:
    assert [name for name in _imports(path) if name.startswith(SERVER_SHELLS)] == []


def test_onnxruntime_is_imported_in_one_place_which_keeps_it_from_reporting() -> None:
    """And what lies below it where that place was asked before."""
    sources = [*(REPOSITORY / "cvforge").rglob("*.py"), *(REPOSITORY / "deploy").rglob("*.py")]
    importing = {}
    for path in sources:
        names = [
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        if any(name.split(".")[0] == "onnxruntime" for name in names):
            importing[path.relative_to(REPOSITORY).as_posix()] = "load_onnxruntime()" in path.read_text()
    assert importing == {"deploy/edge/cvforge_edge/backends/onnx_runtime.py": True, "cvforge/export/onnx_int8.py": True}


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "helpers", "common", "misc", "util"}
    folders = [REPOSITORY / name for name in ("cvforge", "deploy", "tools")]
    found = [path for folder in folders for path in folder.rglob("*") if path.stem in vague]
    assert found == []
