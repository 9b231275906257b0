"""An export that loses too much of the metric, as a user sees it."""

from __future__ import annotations

import dataclasses
import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import load_tool
from cvforge.cli import run_command
from cvforge.config.build import load_net
from cvforge.export.formats import FORMATS
from cvforge.export.onnx import write_onnx
from cvforge.export.wrap import TracedGraph, trace
from cvforge.runs import open_run
from untrained_run import write_untrained_run

OVERRIDES = ["data.val.count=4", "preprocess.size_hw=[64,64]", "export.formats=[onnx]", "export.precisions=[fp32]"]


class ClassesTurnedRound(nn.Module):
    """A wrong conversion whose outputs have the right shape and range: the first class is said to be the last."""

    export_blocker = None

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.net.predict(images)["logits"].flip(3)}


def always_the_first_class(net: nn.Module) -> None:
    """Let the last layers of a segmentation net say 0 for everything and 5 for the first class."""
    classes = min(layer.out_channels for layer in net.modules() if isinstance(layer, nn.Conv2d))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.out_channels == classes:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            layer.bias.data[0] = 5.0


def test_a_loss_of_the_metric_ends_an_export_with_3_names_the_classes_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_untrained_run(tmp_path / "run", "seg_demo", OVERRIDES, change=always_the_first_class)

    def write_wrong_onnx(graph: TracedGraph, paths: dict[str, Path]) -> None:
        write_onnx(trace(ClassesTurnedRound(load_net(open_run(run))), graph.spec), paths)

    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], write=write_wrong_onnx))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "bundles").mkdir()
    output = tmp_path / "bundles" / "b"
    arguments = ["--run", run, "--output", output, "export.tensor_tolerance.fp32=1e6", "export.tensor_peak.fp32=1e6"]
    arguments.append("export.embedding=false")
    code = run_command(load_tool("export").main, [str(argument) for argument in arguments])
    shown, errors = capsys.readouterr()
    assert "error: export over budget; no bundle was written\nmodel_fp32.onnx:\n  miou " in errors
    assert "budget 0.001 (export.metric_budget), over by 0." in errors
    labels = open_run(run).labels
    assert f"classes that lost most: {labels[0]} -0." in errors
    assert "what changed: 0.00 % of the pixels have the checkpoint's class, 0.00 % in the worst of 4 images" in errors
    assert f"most often '{labels[0]}' became '{labels[-1]}' (" in errors
    assert "export.tensor_" not in errors
    assert (code, "Traceback" in errors) == (3, False)
    assert list((tmp_path / "bundles").iterdir()) == [tmp_path / "bundles" / "b.failed.json"]
    assert f"all measurements: {tmp_path / 'bundles' / 'b.failed.json'}" in errors
    found = json.loads((tmp_path / "bundles" / "b.failed.json").read_text())
    assert found["files"]["model_fp32.onnx"]["metrics"]["miou"] < found["checkpoint"]["metrics"]["miou"]
    assert found["provenance"]["overrides"] == [str(argument) for argument in arguments[4:]]
    assert (
        found["provenance"]["checkpoint_sha256"] == sha256((run / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    )
    assert "miou on val" in shown
    assert "model_fp32.onnx" in shown
    assert "export.tensor_peak.fp32` was 1e+06 instead of 0.005 (CVForge's default) and 0.005 (the run's own" in shown
