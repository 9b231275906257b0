"""The repository's own promises: supported Pythons, extras without torch, licences, headers of configs."""

from __future__ import annotations

import re
import sys
from importlib.metadata import metadata, requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from conftest import REPOSITORY


def _extra(name: str) -> set[str]:
    found = [Requirement(text) for text in requires("cvforge") or []]
    return {r.name.lower() for r in found if r.marker and re.search(rf"extra == [\"']{name}[\"']", str(r.marker))}


def test_this_python_is_inside_the_range_that_setup_states() -> None:
    supported = SpecifierSet(metadata("cvforge")["Requires-Python"])
    assert sys.version.split()[0] in supported


def test_device_extras_bring_no_torch() -> None:
    for extra in ("edge", "edge-onnx", "edge-tflite-runtime"):
        packages = _extra(extra)
        assert packages, f"extra {extra} is empty"
        assert not packages & {"torch", "torchvision", "pytorch-lightning", "timm", "tensorflow"}


def test_plain_install_brings_nothing() -> None:
    assert [text for text in requires("cvforge") or [] if "extra ==" not in text] == []


def test_agpl_packages_are_in_no_extra_and_no_pin() -> None:
    agpl = {"ultralytics", "albumentationsx", "yolov5"}
    named = {Requirement(text).name.lower() for text in requires("cvforge") or []}
    pinned = {line.split("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert not agpl & (named | pinned)


def test_every_workstation_requirement_is_pinned() -> None:
    pinned = {line.split("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    for extra in ("train", "export", "tensorflow", "track", "dev"):
        assert _extra(extra) <= pinned, f"{extra}: run make constraints"


def test_pins_of_malware_and_known_holes_are_excluded() -> None:
    by_name = {Requirement(text).name: Requirement(text) for text in requires("cvforge") or []}
    assert not by_name["pytorch-lightning"].specifier.contains("2.6.3")
    assert not by_name["torch"].specifier.contains("2.9.1")


def test_changelog_names_this_version() -> None:
    assert f"## {metadata('cvforge')['Version']}" in (REPOSITORY / "CHANGELOG.md").read_text()
