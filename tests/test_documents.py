"""What the documents tell a reader to type exists: commands, options, configs, keys, targets, links."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from cvforge.config.load import load
from cvforge.tune.gather import gather_space

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "data/README.md", "docs/**/*.md", "deploy/**/*.md", "configs/*.yaml")
    for path in REPOSITORY.glob(pattern)
)
EDGE = REPOSITORY / "deploy" / "edge"
EDGE_PROGRAMS = ("run_camera.py", "benchmark.py")


def commands(path: Path) -> list[str]:
    """Every line of a document that begins with `python x.py`, without its comment."""
    lines = (line.removeprefix("# ") for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if re.match(r"python \S+\.py ", line)]


CASES = sorted({(path.relative_to(REPOSITORY).as_posix(), line) for path in DOCUMENTS for line in commands(path)})


@pytest.mark.parametrize(("document", "line"), CASES, ids=lambda text: text.replace("/", ":")[:60])
def test_every_command_is_understood_by_its_program(
    document: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, script, *arguments = shlex.split(line, comments=True)
    folder = EDGE if script in EDGE_PROGRAMS else REPOSITORY
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    program = runpy.run_path(str(folder / script))
    if arguments[0] in program.get("COMMANDS", {}):
        importlib.import_module(program["COMMANDS"][arguments.pop(0)])._parser().parse_args(arguments)
        return
    if Path(script).name in EDGE_PROGRAMS:
        parse = program.get("parse_options") or importlib.import_module("cvforge_edge.camera_options").parse_options
        parse(arguments)
        return
    options = vars(program["_parser"]().parse_intermixed_args(arguments))
    if options.get("config") is not None:
        there = [f"data.root={tmp_path}" if text.startswith("data.root=") else text for text in options["overrides"]]
        if "space" in options:
            gathered = gather_space(there, options["space"])
            there = [*gathered.overrides, *(p.override(p.values.edges[0]) for p in gathered.parameters)]
        load(options["config"], there)


def test_the_documents_hold_commands_to_check() -> None:
    assert {document for document, _ in CASES} >= {"README.md", "data/README.md", "deploy/edge/README.md"}


@pytest.mark.parametrize(
    "path", [p for p in DOCUMENTS if p.suffix == ".md"], ids=lambda p: str(p.relative_to(REPOSITORY))
)
def test_every_link_and_target_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets


def test_nobody_is_told_to_install_our_name_from_pypi() -> None:
    """There it is somebody else's package; ours is installed from a clone."""
    texts = {path: path.read_text(encoding="utf-8") for path in [*DOCUMENTS, *REPOSITORY.glob("[cdt]*/**/*.py")]}
    wrong = [path for path, text in texts.items() if re.search(r"pip install [^\n]*?[\"' ]cvforge\[", text)]
    assert wrong == []
