"""Every config and option in `configs/`, held against the real classes that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cvforge.config.catalog import CONFIGS, header, options, runnable_configs
from cvforge.config.load import load

DEMO = "det_demo"


@pytest.mark.parametrize("name", runnable_configs())
def test_every_runnable_config_passes_its_own_check(name: str, tmp_path: Path) -> None:
    root = [] if name.endswith("_demo") else [f"data.root={tmp_path}"]
    config = load(name, root)
    assert config.run.name == name
    assert config.model["num_classes"] == config.data.num_classes
    assert config.data.root == (str(tmp_path) if root else None)


@pytest.mark.parametrize("name", runnable_configs())
def test_every_runnable_config_opens_with_what_it_is_its_result_and_its_command(name: str) -> None:
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[:4]
    assert lines[0] == f"# {header(CONFIGS / f'{name}.yaml')}"
    assert len(lines[0]) > 30
    assert lines[1].startswith("# measured: ")
    assert "not yet" not in lines[1]
    assert lines[2].startswith(f"# python tools/train.py --config {name}.yaml")
    assert not lines[3].startswith("#")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_option_of_a_group_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8").splitlines()
    assert text[0].startswith("# ")
    assert text[0] != "# @package _global_" or text[1].startswith("# ")


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONFIGS / "model").glob("*.yaml"))])
def test_every_model_option_passes_the_check_in_a_config_of_its_task(name: str) -> None:
    own_loss = ("ssdlite", "faster_rcnn", "retinanet", "fcos")
    task = "cls" if name.startswith("classifier") else "det" if name.startswith(("edge", *own_loss)) else "seg"
    loss = ["loss=null"] if name in own_loss else []
    config = load(f"{task}_demo", [f"model={name}", *loss])
    assert config.model["num_classes"] == config.data.num_classes


@pytest.mark.parametrize(
    "choice", [f"{group}={name}" for group in ("optim", "trainer", "export", "debug") for name in options(group)]
)
def test_every_other_option_passes_the_check(choice: str) -> None:
    load(DEMO, [choice])


def test_every_hint_points_to_a_section_of_the_data_readme() -> None:
    text = (CONFIGS.parent / "data" / "README.md").read_text(encoding="utf-8")
    anchors = {
        line.lstrip("# ").strip().lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")
    }
    hints = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")).get("hint") for path in CONFIGS.glob("data/*.yaml")
    }
    named = {name: hint.rpartition("data/README.md#")[2] for name, hint in hints.items() if hint}
    assert len(named) == 6
    assert {name: anchor for name, anchor in named.items() if anchor not in anchors} == {}
