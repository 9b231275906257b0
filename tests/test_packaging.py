"""The repository's own promises: supported Pythons, extras without torch, pins, licences, one version."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import metadata, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import cvforge
import cvforge_edge
from conftest import REPOSITORY

DEVICE_EXTRAS = ("edge", "edge-onnx", "edge-tflite-runtime")
WORKSTATION_EXTRAS = ("train", "export", "tensorflow", "track", "tune", "dev")


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def extras() -> dict[str, dict[str, Requirement]]:
    """Extra -> package -> requirement, from setup.py itself: installed metadata may be older."""
    for node in ast.parse(text_of("setup.py")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXTRAS":
            found = {extra: map(Requirement, lines) for extra, lines in ast.literal_eval(node.value).items()}
            return {extra: {canonicalize_name(r.name): r for r in lines} for extra, lines in found.items()}
    raise AssertionError("setup.py has no EXTRAS")


def pinned() -> set[str]:
    lines = text_of("constraints.txt").splitlines()
    return {canonicalize_name(line.split("==")[0]) for line in lines if not line.startswith("#")}


def all_packages() -> set[str]:
    return {name for packages in extras().values() for name in packages}


def test_this_python_is_inside_the_range_that_setup_states() -> None:
    assert sys.version.split()[0] in SpecifierSet(metadata("cvforge")["Requires-Python"])


def test_every_place_that_names_the_supported_pythons_agrees_with_setup() -> None:
    low, end = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', text_of("setup.py")).groups()
    span = f"3.{low} to 3.{int(end) - 1}"
    makefile = text_of("Makefile")
    assert f"(3, {low}) <= sys.version_info[:2] < (3, {end})" in makefile
    assert f"Python {span} is needed" in makefile
    assert f"--python-version 3.{low} " in makefile
    assert f"Python {span}" in text_of("README.md")
    assert f"Python {span}" in text_of("constraints.txt").splitlines()[0]
    assert f'target-version = "py3{low}"' in text_of("pyproject.toml")
    assert f"Python 3.{low} or newer" in text_of("deploy/edge/README.md")


def test_trainer_device_and_changelog_have_one_version() -> None:
    assert cvforge.__version__ == cvforge_edge.__version__
    assert f"## {cvforge.__version__}" in text_of("CHANGELOG.md")


@pytest.mark.parametrize("extra", DEVICE_EXTRAS)
def test_device_extras_bring_no_torch(extra: str) -> None:
    packages = extras()[extra].keys()
    assert packages >= {"numpy", "opencv-python-headless"}
    assert not packages & {"torch", "torchvision", "pytorch-lightning", "timm", "tensorflow"}


@pytest.mark.parametrize("extra", DEVICE_EXTRAS)
def test_a_device_extra_and_its_requirements_file_name_the_same_packages(extra: str) -> None:
    lines = text_of(f"deploy/edge/requirements{extra.removeprefix('edge')}.txt").splitlines()
    assert {Requirement(line).name for line in lines if not line.startswith("#")} == extras()[extra].keys()


def test_a_plain_install_brings_nothing() -> None:
    assert "install_requires" not in text_of("setup.py")


def test_opencv_comes_without_windows_so_that_a_bare_machine_can_import_it() -> None:
    assert "opencv-python" not in all_packages() | pinned()  # its files would replace those of the headless wheel


def test_everything_that_the_trainer_imports_is_named_in_an_extra() -> None:
    named = set().union(*(extras()[extra] for extra in ("train", "export", "tensorflow", "track", "tune")))
    providers = packages_distributions()
    missing = {}
    for path in sorted((REPOSITORY / "cvforge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for root in {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names):
                offered = {canonicalize_name(name) for name in providers.get(root, [root])}
                if not root.startswith("cvforge") and not offered & named:
                    missing[root] = path.name
    assert missing == {}


def test_agpl_packages_are_in_no_extra_and_no_pin() -> None:
    assert not {"ultralytics", "albumentationsx", "yolov5"} & (all_packages() | pinned())


@pytest.mark.parametrize("extra", WORKSTATION_EXTRAS)
def test_every_workstation_requirement_is_pinned(extra: str) -> None:
    assert extras()[extra].keys() <= pinned(), "run make constraints"


def test_malware_and_known_holes_are_excluded() -> None:
    train = extras()["train"]
    for hole in ("2.6.2", "2.6.3", "2.6.5"):
        assert not train["pytorch-lightning"].specifier.contains(hole)
    assert not train["torch"].specifier.contains("2.9.1")
    assert not train["albumentations"].specifier.contains("2.0.9")


@pytest.mark.network
@pytest.mark.skipif(shutil.which("uv", path=Path(sys.executable).parent) is None, reason="make install brings uv")
def test_the_tensorflow_extra_leaves_every_package_of_the_main_environment_as_it_is() -> None:
    def resolved(*names: str) -> set[str]:
        chosen = [word for name in names for word in ("--extra", name)]
        command = [Path(sys.executable).parent / "uv", "pip", "compile", "-q", "--no-header", "--no-annotate", *chosen]
        command += ["-c", "constraints.txt", "--python", sys.executable, "setup.py"]
        environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return set(done.stdout.split())

    main = resolved("train", "export", "dev")
    both = resolved("train", "export", "dev", "tensorflow")
    assert main - both == set()
    assert any(line.startswith("tensorflow==") for line in both - main)
