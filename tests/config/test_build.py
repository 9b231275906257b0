"""From a checked config to objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cvforge.checkpoint import IDENTITY_KEY, identity, write_checkpoint
from cvforge.config import build
from cvforge.config.instantiate import instantiate
from cvforge.config.load import load, resolved_yaml
from cvforge.config.schema import Config
from cvforge.data.synthetic import ShapesDetection
from cvforge.errors import CheckpointError, ConfigError, DataError
from cvforge.runs import Run, create_run
from cvforge_edge.types import Task

SMALL = ["data.train.count=6", "data.val.count=4", "data.num_workers=0", "preprocess.size_hw=[64,64]"]


@pytest.fixture(scope="module")
def config() -> Config:
    return load("det_demo", [*SMALL, "model.neck_channels=16", "evaluation.score_threshold=0.02"])


def test_the_specs_carry_the_values_of_their_sections(config: Config) -> None:
    assert build.build_preprocess(config).size_hw == (64, 64)
    assert build.build_postprocess(config).score_threshold == config.postprocess.score_threshold
    scoring = build.build_evaluation_postprocess(config)
    assert (scoring.kind, scoring.score_threshold, scoring.max_detections) == ("detection_nms", 0.02, 100)


def test_a_data_set_is_built_with_the_types_of_its_constructor(config: Config) -> None:
    dataset = build.build_dataset(config, "train")
    assert isinstance(dataset, ShapesDetection)
    assert (len(dataset), dataset.size_hw) == (6, (64, 64))


def test_the_data_module_holds_the_sets_and_settings_of_the_config(config: Config) -> None:
    data = build.build_data(config)
    assert (len(data.train_set), len(data.val_set), data.test_set) == (6, 4, None)
    assert (data.batch_size, data.num_workers, data.seed) == (config.data.batch_size, 0, config.run.seed)
    assert data.task is Task.DETECTION
    assert data.augment is not None


def test_a_split_that_the_config_does_not_name_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="data.test: the config names no such set; it names train, val"):
        build.build_dataset(config, "test")


def test_another_number_of_classes_than_the_config_says_is_refused() -> None:
    config = load("det_demo", [*SMALL, "data.num_classes=3"])
    with pytest.raises(
        DataError, match="data.train: found 5 classes .* but data.num_classes is 3; give data.num_classes=5"
    ):
        build.build_dataset(config, "train")


def test_the_root_reaches_a_data_set_that_lies_in_a_folder(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.jpg").write_bytes(b"not opened")
    config = load("cls_clothing", [f"data.root={tmp_path}", "data.num_classes=2"])
    assert build.build_dataset(config, "train").labels == ("cat", "dog")


def test_net_loss_metric_and_augmentation_fit_together(config: Config) -> None:
    net, loss = build.build_net(config), build.build_loss(config)
    metric = build.build_metric(config, ShapesDetection.labels)
    assert net(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert loss.num_classes == 5
    assert (metric.primary, metric.labels) == ("map", ShapesDetection.labels)
    assert build.build_augment(config)(build.build_dataset(config, "train")[0], seed=1).image_bgr.shape == (64, 64, 3)


def test_parts_that_the_config_leaves_out_are_none() -> None:
    config = load("det_demo", ["augment=null", "loss=null", "model=faster_rcnn"])
    assert (build.build_augment(config), build.build_loss(config)) == (None, None)


def test_callbacks_are_built_in_the_order_of_their_names() -> None:
    base = "pytorch_lightning.callbacks"
    config = load(
        "det_demo", [f"callbacks.b._target_={base}.LearningRateMonitor", f"callbacks.a._target_={base}.ModelSummary"]
    )
    assert [type(c).__name__ for c in build.build_callbacks(config)] == ["ModelSummary", "LearningRateMonitor"]


def run_of(config: Config, net: nn.Module, folder: Path, *, labels: tuple[str, ...] = ShapesDetection.labels) -> Run:
    run = create_run(folder)
    run.config.write_text(resolved_yaml(config), encoding="utf-8")
    run.data.write_text('{"task": "detection", "labels": ["circle", "square", "triangle", "star", "cross"]}')
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    write_checkpoint({"state_dict": state, IDENTITY_KEY: identity("detection", labels)}, run.best_checkpoint)
    return run


def test_load_net_gives_the_net_of_a_run_without_its_pretrained_weights(config: Config, tmp_path: Path) -> None:
    net = build.build_net(config)
    run = run_of(load("det_demo", [*SMALL, "model.neck_channels=16", "model.weights=timm"]), net, tmp_path / "run")
    loaded = build.load_net(run)  # timm's hub would be asked here if the weights were not left out
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True))


def test_load_net_refuses_the_checkpoint_of_another_model(config: Config, tmp_path: Path) -> None:
    run = run_of(load("det_demo", [*SMALL, "model.neck_channels=24"]), build.build_net(config), tmp_path / "run")
    with pytest.raises(CheckpointError, match="belong to another model"):
        build.load_net(run)


class Part:
    """Stands for a class of a user."""

    def __init__(
        self, size_hw: tuple[int, int], scale: float = 1.0, inner: Any = None, root: str | None = None
    ) -> None:
        if scale < 0:
            raise ValueError(f"scale: found {scale}, expected at least 0")
        self.size_hw, self.scale, self.inner, self.root = size_hw, scale, inner, root


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> str:
    """The dotted path of `Part`, trusted."""
    monkeypatch.setenv("CVFORGE_TRUSTED_PREFIXES", Part.__module__.split(".")[0])
    return f"{Part.__module__}.Part"


def test_instantiate_builds_nested_targets_and_converts_values(part: str) -> None:
    inner = {"_target_": part, "size_hw": [1, 2]}
    built = instantiate({"_target_": part, "size_hw": [3, 4], "scale": 2, "inner": [inner, 5]}, key="part")
    assert (built.size_hw, built.scale, type(built.scale)) == ((3, 4), 2.0, float)
    assert (built.inner[0].size_hw, built.inner[1]) == ((1, 2), 5)


def test_instantiate_gives_supplied_arguments_unless_the_config_does(part: str) -> None:
    mapping = {"_target_": part, "size_hw": [1, 2]}
    assert instantiate(mapping, key="part", supplied={"root": "a", "labels": ()}).root == "a"
    assert instantiate({**mapping, "root": "b"}, key="part", supplied={"root": "a"}).root == "b"


def test_instantiate_names_the_key_when_a_constructor_refuses_a_value(part: str) -> None:
    with pytest.raises(ConfigError, match="model: .*Part does not accept its arguments: scale: found -1.0"):
        instantiate({"_target_": part, "size_hw": [1, 2], "scale": -1}, key="model")


def test_instantiate_refuses_what_the_check_would_refuse() -> None:
    with pytest.raises(ConfigError, match="outside the trusted packages"):
        instantiate({"_target_": "os.system", "command": "true"}, key="model")
