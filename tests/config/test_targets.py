"""Which classes a config may name, and whether its keys fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvforge.config.problems import Problems
from cvforge.config.targets import TargetError, check_target, check_targets, locate

FOLDERS = "cvforge.data.folder.ClassFolders"


def problems_of(mapping: dict[str, Any], **arguments: Any) -> list[tuple[str, str]]:
    problems = Problems()
    check_target(mapping, key="part", problems=problems, **arguments)
    return problems.found


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "torch.hub.load",
        "torch.load",
        "builtins.eval",
        "cvforge.data.folder.Path",  # reachable through a trusted module, but not of it
        "cvforgery.models.Net",
        "pytorch_lightning.Trainer",
        "eval",
        "__main__.Net",
    ],
)
def test_a_target_outside_the_trusted_packages_is_refused_before_it_is_imported(path: str) -> None:
    with pytest.raises(TargetError, match="outside the trusted packages"):
        locate(path)


def test_a_module_of_ones_own_is_not_imported_until_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = tmp_path / "imported"
    (tmp_path / "own_nets.py").write_text(f"open({str(witness)!r}, 'w').close()\nclass Net:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TargetError, match="if you trust it, set CVFORGE_TRUSTED_PREFIXES=own_nets"):
        locate("own_nets.Net")
    assert not witness.exists()
    monkeypatch.setenv("CVFORGE_TRUSTED_PREFIXES", "other, own_nets")
    assert locate("own_nets.Net").__name__ == "Net"


def test_a_config_cannot_extend_the_trust_in_itself() -> None:
    raw = {"trusted_prefixes": ["os"], "model": {"_target_": "os.system"}}
    problems = Problems()
    check_targets(raw, problems)
    assert "outside the trusted packages" in problems.found[0][1]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("cvforge.data.foldr.ClassFolders", "cvforge.data has no module 'foldr'; did you mean 'folder'?"),
        ("cvforge.data.folder.ClassFolder", "has no class 'ClassFolder'; did you mean 'ClassFolders'?"),
        ("cvforge.data.files.image_files", "cvforge.data.files.image_files is not a class"),
        ("cvforge.dta.folder.ClassFolders", "cvforge has no module 'dta'; did you mean 'data'?"),
        ("cvforge.cli.os.system", "cvforge.cli has no module 'os'"),
    ],
)
def test_a_target_that_does_not_exist_suggests_the_nearest(path: str, words: str) -> None:
    with pytest.raises(TargetError) as caught:
        locate(path)
    assert words in str(caught.value)


def test_a_module_that_fails_while_imported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_nets.py").write_text("1 / 0\n")
    (tmp_path / "needy_nets.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CVFORGE_TRUSTED_PREFIXES", "broken_nets,needy_nets,absent_nets")
    for path, words in (
        ("broken_nets.Net", "broken_nets cannot be imported: ZeroDivisionError"),
        ("needy_nets.Net", "needs the package 'no_such_package_at_all', which is not installed"),
        ("absent_nets.Net", "no package 'absent_nets' is installed"),
    ):
        with pytest.raises(TargetError, match=words):
            locate(path)


def test_every_key_is_held_against_the_constructor() -> None:
    found = problems_of({"_target_": FOLDERS, "splt": "train", "labels": "cat", "root": 3})
    assert found == [
        ("part.splt", f"unknown key of {FOLDERS}; did you mean 'split'? accepted: labels, root, split"),
        ("part.labels", "found 'cat' (text), expected a list, each text or null"),
        ("part.root", "found 3 (a whole number), expected text or a path or null; quote it: \"part.root='3'\""),
        ("part.split", f"missing: {FOLDERS} needs it; give part.split=VALUE"),
    ]


def test_arguments_that_code_supplies_need_not_be_in_the_config() -> None:
    assert problems_of({"_target_": FOLDERS, "split": "train"}, supplied=("root",)) == []
    assert problems_of({"_target_": FOLDERS, "split": "train"})[0][0] == "part.root"


def test_nested_targets_are_checked_too() -> None:
    nested = {"_target_": "torch.nn.Sequential", "a": [{"_target_": "torch.nn.Linear", "in_feature": 3}]}
    keys = [key for key, _ in problems_of({"_target_": FOLDERS, "split": "train", "root": {"inner": nested}})]
    assert "part.root.inner.a[0].in_feature" in keys
    assert "part.root.inner.a[0].out_features" in keys


def test_hydra_specials_are_ordinary_unknown_keys() -> None:
    keys = [
        key for key, _ in problems_of({"_target_": FOLDERS, "split": "a", "root": "b", "_partial_": True, "_args_": []})
    ]
    assert keys == ["part._partial_", "part._args_"]


def test_a_class_must_be_what_its_place_needs() -> None:
    problems = Problems()
    check_targets({"model": {"_target_": FOLDERS}, "loss": {"lr": 1}, "metric": {"_target_": 3}}, problems)
    assert problems.found == [
        ("model._target_", f"{FOLDERS} is not a network: it has no method forward, predict"),
        ("loss._target_", "missing: name the class to build, like cvforge.package.module.Class"),
        (
            "metric._target_",
            "found 3 (a whole number), expected text; name the class to build, like cvforge.package.module.Class",
        ),
    ]
