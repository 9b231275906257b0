"""tools/export.py import: the bundle of somebody else's network is released like any other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import load_tool
from cvforge.cli import run_command
from cvforge.export.measurements import measurements_path
from cvforge_edge.bundle import open_bundle
from export.small_onnx import SIZE_HW, save_ultralytics


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder, with a network and an image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    save_ultralytics(tmp_path / "net.onnx")
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.full((*SIZE_HW, 3), (51, 153, 255), np.uint8))
    return tmp_path


def export(*words: str) -> int:
    return run_command(load_tool("export").main, list(words))


def import_net(output: str, *options: str) -> int:
    given = ["--onnx", "net.onnx", "--kind", "ultralytics", "--labels", "red,green,blue", "--images", "photos"]
    return export("import", *given, "--output", output, "--name", "net", *options)


def test_the_same_file_and_images_give_the_same_bundle_byte_for_byte(folder: Path) -> None:
    contents = []
    for name in ("one", "two"):
        assert import_net(name, "--precision", "fp32,fp16") == 0
        bundle = folder / name
        contents.append({path.relative_to(bundle): path.read_bytes() for path in bundle.rglob("*") if path.is_file()})
        assert measurements_path(bundle).is_file()
    assert {"model_fp32.onnx", "model_fp16.onnx", "manifest.json"} <= {str(path) for path in contents[0]}
    assert contents[0] == contents[1]


def test_an_imported_network_is_signed_for_devices_that_trust_the_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("keygen", "--output", "keys/team.key") == 0
    assert export("keygen", "--output", "keys/others.key") == 0
    assert import_net("signed", "--sign", "keys/team.key", "--model-version", "3") == 0
    assert open_bundle(folder / "signed").manifest.version == 3
    assert export("verify", "--bundle", "signed", "--trust", "keys/team.pub") == 0
    assert export("verify", "--bundle", "signed", "--trust", "keys/others.pub") != 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_key_that_is_none_stops_the_import_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "no.key").write_text("no key")
    assert import_net("signed", "--sign", "no.key") == 2
    assert "no.key" in capsys.readouterr().err
    assert not (folder / "signed").exists()
