"""Every model that ships with a config survives the way to every format, or says why it cannot."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from cvforge.config import build
from cvforge.config.load import load
from cvforge.errors import ExportError
from cvforge.export.embedding import embedding_layer
from cvforge.export.formats import FLOAT_PRECISIONS, FORMATS
from cvforge.export.onnx import write_onnx
from cvforge.export.parity import relative_errors
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.wrap import GraphSpec, trace, trace_batch
from cvforge_edge.backends import open_backend
from cvforge_edge.types import Task

MODELS = sorted(path.stem for path in (REPOSITORY / "configs" / "model").glob("*.yaml"))
ODD_MAPS_HW = (100, 76)  # maps of 13 x 10, 7 x 5 and 4 x 3: enlarging one to the next is by no whole factor
CASES = [(model, []) for model in MODELS] + [("edge_nano", [f"preprocess.size_hw={list(ODD_MAPS_HW)}"])]
QUIET_STD = 0.015  # of the weights of a detector's last layers before training
MOVES = 1e-2  # how much each output must differ between two images, for the comparison to mean something
TOLERANCE = 1e-3  # of an output's range
ROUNDING_FACTOR = 4  # how much more an fp16 file may lose than PyTorch with rounded weights: other weights, folded ones


def rounded(net: torch.nn.Module) -> torch.nn.Module:
    """A copy whose weights went through half precision: what fp16 costs this net, whoever converts it."""
    copied = copy.deepcopy(net)
    for parameter in copied.parameters():
        parameter.data = parameter.data.half().float()
    return copied


def experiment_of(model: str) -> tuple[str, list[str]]:
    """The demonstration config of the model's task, and what makes the model fit into it."""
    target = str(yaml.safe_load((REPOSITORY / "configs" / "model" / f"{model}.yaml").read_text())["_target_"])
    if "lassifier" in target:
        return "cls_demo.yaml", [f"model={model}"]
    if "LRASPP" in target or "DeepLab" in target or "smp" in target.lower() or "egment" in target:
        return "seg_demo.yaml", [f"model={model}"]
    own_loss = [] if "EdgeDetector" in target else ["loss=null"]
    return "det_demo.yaml", [f"model={model}", *own_loss]


def awaken(net: torch.nn.Module, size_hw: tuple[int, int]) -> None:
    """Make an untrained net say something else to every image: statistics of some images, and heads that speak up."""
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.std() < QUIET_STD:
            module.weight.data *= 5
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen
            module.reset_running_stats()
    with torch.no_grad():
        net.train().predict(torch.randint(0, 256, (4, *size_hw, 3), dtype=torch.uint8))


def prepared(model: str, size: list[str]) -> tuple[torch.nn.Module, GraphSpec]:
    name, overrides = experiment_of(model)
    config = load(name, [*overrides, *size])
    torch.manual_seed(0)
    net = build.build_net(config, pretrained=False)
    size_hw = tuple(config.preprocess.size_hw)
    spec = GraphSpec(Task(config.task), size_hw, config.data.num_classes, embedding_layer(net))
    if not net.export_blocker:
        awaken(net, spec.size_hw)
    return net, spec


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_shipped_model_answers_several_images_at_once_as_one_by_one(model: str, tmp_path: Path) -> None:
    net, spec = prepared(model, [])
    if net.export_blocker:
        with pytest.raises(ExportError, match="cannot be exported"):
            trace_batch(net, spec)
        return
    write_onnx(trace_batch(net, spec), {"fp32": tmp_path / "a.onnx"})
    images = np.random.default_rng(0).integers(0, 256, (3, *spec.size_hw, 3)).astype(np.uint8)
    checkpoint, backend = TorchBackend(net, embedding=spec.embedding), open_backend("onnxruntime", tmp_path / "a.onnx")
    expected = [checkpoint.run(image[None]) for image in images]
    for count in (1, 2, 3):
        found = backend.run(images[:count])
        rows = [{role: found[role][number : number + 1] for role in spec.roles} for number in range(count)]
        errors = relative_errors(expected[:count], rows)
        assert max(errors.values()) < TOLERANCE, f"{count} at once: {errors}"


@pytest.mark.slow
@pytest.mark.parametrize(("model", "size"), CASES)
def test_every_shipped_model_gives_the_same_outputs_in_every_format(
    model: str, size: list[str], tmp_path: Path
) -> None:
    net, spec = prepared(model, size)
    if net.export_blocker:
        with pytest.raises(ExportError, match="cannot be exported"):
            trace(net, spec)
        return
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (1, *spec.size_hw, 3)).astype(np.uint8) for _ in range(2)]
    checkpoint = TorchBackend(net, embedding=spec.embedding)
    expected = [checkpoint.run(image) for image in images]
    assert all(np.abs(expected[0][role] - expected[1][role]).max() > MOVES for role in spec.roles)
    half = TorchBackend(rounded(net), embedding=spec.embedding)
    from_rounding = relative_errors(expected, [half.run(image) for image in images])
    graph = trace(net, spec)
    for name, form in FORMATS.items():
        paths = {precision: tmp_path / f"{precision}.{name}" for precision in FLOAT_PRECISIONS}
        form.write(graph, paths)
        for precision, path in paths.items():
            backend = open_backend(form.runtime, path)
            errors = relative_errors(expected, [backend.run(image) for image in images])
            assert sorted(errors) == sorted(spec.roles)
            for role, error in errors.items():
                allowed = TOLERANCE + (ROUNDING_FACTOR * from_rounding[role] if precision == "fp16" else 0)
                assert error < allowed, f"{name} {precision} {role}: rounding alone gives {from_rounding[role]:.2g}"
