"""Files are compared with their checkpoint in the pass that scores them, and what changed is seen in every report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cvforge.errors import ExportBudgetError
from cvforge.export.agreement.boxes import BoxAgreement
from cvforge.export.agreement.comparison import ComparingPredictor, thresholds_of_comparison
from cvforge.export.bundle import write_bundle
from cvforge.export.checkpoint import measure_checkpoint
from cvforge.export.one_run import predict_each
from cvforge.export.reference import StatisticsPredictor
from cvforge.export.report import ExportReport
from cvforge.export.source import Source, network_source
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.verify import Scoring, judge
from cvforge_edge.geometry import Geometry
from cvforge_edge.manifest import ModelFile, read_manifest
from cvforge_edge.postprocess import PostprocessSpec, postprocess
from cvforge_edge.predictor import Predictor
from cvforge_edge.types import Detections, Task
from export.tiny import LABELS, export_tiny, quiet_stages, tiny_net, tiny_plan, tiny_scoring

IMAGES = 12
WIDE = {
    "metric_budget": {"fp32": 1.0},
    "tensor_tolerance": {"fp32": 1e6},
    "tensor_peak": {"fp32": 1e6},
    "precisions": ("fp32",),
}


class Shifted(nn.Module):
    """A detector whose boxes lie a bit further right."""

    export_blocker = None

    def __init__(self, net: nn.Module, pixels: float) -> None:
        super().__init__()
        self.net, self.pixels = net, pixels

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.net.predict(images)
        return {
            "boxes": outputs["boxes"] + torch.tensor([self.pixels, 0.0, self.pixels, 0.0]),
            "scores": outputs["scores"],
        }


class CountingBackend:
    """Counts how often a network runs."""

    def __init__(self, net: nn.Module) -> None:
        self._backend = TorchBackend(net)
        self.runs = 0

    def run(self, image_u8: np.ndarray) -> dict[str, Any]:
        self.runs += 1
        return self._backend.run(image_u8)

    def close(self) -> None:
        self._backend.close()


def export_shifted(pixels: float, target: Path, **changes: Any) -> ExportReport:
    """A bundle whose file is not what its checkpoint is."""
    net = tiny_net(Task.DETECTION)
    wrong = network_source(Shifted(tiny_net(Task.DETECTION), pixels))
    plan = tiny_plan(Task.DETECTION, **{**WIDE, **changes})
    source = Source(TorchBackend(net), wrong.write)
    scoring = tiny_scoring(Task.DETECTION)
    return write_bundle(source, scoring, plan, target=target, replace_existing=False, stages=quiet_stages)


@pytest.mark.parametrize("task", list(Task))
def test_a_file_is_scored_and_compared_in_one_run_an_image(task: Task) -> None:
    scoring, manifest = tiny_scoring(task), tiny_plan(task).manifest()
    noting = StatisticsPredictor(Predictor(TorchBackend(tiny_net(task)), manifest), scoring.postprocess)
    expected = scoring.score(noting, progress=None)
    backend = CountingBackend(tiny_net(task))
    comparing = ComparingPredictor(Predictor(backend, manifest), scoring.postprocess, noting.answers)
    assert scoring.score(comparing, progress=None) == expected
    assert backend.runs == IMAGES
    agreement = comparing.agreement()
    assert agreement.images == IMAGES
    alike = {
        Task.CLASSIFICATION: ("12 of 12", "0.0000", "0.0000"),
        Task.DETECTION: ("12 of 12", "0 of 12", "1.000", "1.000", "0.0000", "0.0000"),
        Task.SEGMENTATION: ("100.00 %", "100.00 %", "1.0000"),
    }[task]
    assert agreement.cells()[: len(alike)] == alike


def test_images_without_truth_are_compared_too() -> None:
    scoring = Scoring(tiny_scoring(Task.DETECTION).dataset, None, PostprocessSpec("detection_nms"), limit=7)
    manifest = tiny_plan(Task.DETECTION).manifest()
    checkpoint = Predictor(TorchBackend(tiny_net(Task.DETECTION)), manifest)
    reference = measure_checkpoint(checkpoint, scoring, stages=quiet_stages)
    shifted = Predictor(TorchBackend(Shifted(tiny_net(Task.DETECTION), 1.0)), manifest)
    steps: list[tuple[int, int]] = []
    verdict = judge(
        ModelFile("model_fp32.onnx", "onnx", "fp32", "0" * 64, 1),
        shifted,
        reference=reference,
        scoring=scoring,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert (verdict.metrics, verdict.failure, steps[-1]) == ({}, None, (7, 7))
    agreement = verdict.agreement
    assert isinstance(agreement, BoxAgreement)
    assert (agreement.images, agreement.matched) == (7, 7)
    assert agreement.iou_mean == pytest.approx(7 / 9, abs=0.02)


def test_a_file_that_cannot_be_read_has_no_agreement() -> None:
    class NoNumbers(nn.Module):
        def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"probs": torch.full((1, len(LABELS)), torch.nan)}

    scoring, manifest = tiny_scoring(Task.CLASSIFICATION), tiny_plan(Task.CLASSIFICATION).manifest()
    checkpoint = Predictor(TorchBackend(tiny_net(Task.CLASSIFICATION)), manifest)
    reference = measure_checkpoint(checkpoint, scoring, stages=quiet_stages)
    model = ModelFile("model_fp32.onnx", "onnx", "fp32", "0" * 64, 1)
    verdict = judge(
        model, Predictor(TorchBackend(NoNumbers()), manifest), reference=reference, scoring=scoring, progress=None
    )
    assert verdict.failure is not None and "NaN" in verdict.failure
    assert verdict.agreement is None


@pytest.mark.parametrize("kind", ["detection_nms", "detection_nms_free"])
def test_lower_thresholds_leave_the_reported_boxes_exactly_as_they_are(kind: str) -> None:
    generator = np.random.default_rng(1)
    spec = PostprocessSpec(kind, score_threshold=0.5, iou_threshold=0.5, max_detections=40)
    geometry = Geometry((100, 100), (100, 100), (1.0, 1.0), (0.0, 0.0))
    fainter = 0
    for _ in range(20):
        corners = generator.uniform(0, 80, (60, 2))
        boxes = np.concatenate((corners, corners + 20), axis=1).astype(np.float32)
        outputs = {"boxes": boxes, "scores": generator.uniform(0, 0.7, (60, 2)).astype(np.float32)}
        reported = postprocess(outputs, spec, geometry)
        wider = postprocess(outputs, thresholds_of_comparison(spec), geometry)
        assert isinstance(reported, Detections) and isinstance(wider, Detections)
        fainter += len(wider) - len(reported)
        strong = wider.select(wider.scores >= np.float32(0.5))
        np.testing.assert_array_equal(strong.boxes_xyxy, reported.boxes_xyxy)
        np.testing.assert_array_equal(strong.class_ids, reported.class_ids)
    assert fainter > 0


def test_readings_that_mean_the_same_are_made_once() -> None:
    specs = [PostprocessSpec("segmentation_logits", score_threshold=value) for value in (0.1, 0.2)]
    manifest = tiny_plan(Task.SEGMENTATION).manifest()
    predictor = Predictor(TorchBackend(tiny_net(Task.SEGMENTATION)), manifest)
    first, second = predict_each(predictor, tiny_scoring(Task.SEGMENTATION).dataset[0].image_bgr, specs).predictions
    assert first is second


def test_moved_boxes_show_in_the_report_the_manifest_and_the_card(tmp_path: Path) -> None:
    report = export_shifted(0.1, tmp_path / "b")
    agreement = report.verdicts[0].agreement
    assert isinstance(agreement, BoxAgreement)
    assert (agreement.matched, agreement.missing, agreement.extra) == (12, 0, 0)
    assert agreement.iou_mean == pytest.approx(7.9 / 8.1, abs=1e-3)
    assert agreement.score_max == pytest.approx(0, abs=1e-5)
    noted = read_manifest(tmp_path / "b").provenance["agreement"]["model_fp32.onnx"]
    assert noted == json.loads(json.dumps(agreement.to_value()))
    assert (noted["found_again"], noted["without_partner"]) == (1.0, 0.0)
    card = (tmp_path / "b" / "model_card.md").read_text()
    assert "## Agreement with the checkpoint\n\nAnswers to the same 12 pictures, right or wrong.\n\n" in card
    assert "| file | found again | no partner | IoU mean | IoU 5 % | score diff. | largest |" in card
    assert "| model_fp32.onnx | 12 of 12 | 0 of 12 | 0.975 | 0.97" in card


def test_an_export_over_budget_says_what_changed_and_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(ExportBudgetError) as caught:
        export_shifted(1.0, tmp_path / "b", metric_budget={"fp32": 0.001})
    lines = str(caught.value).splitlines()
    assert lines[1] == "model_fp32.onnx:"
    assert lines[2].startswith("  map ")
    changed = next(line for line in lines if line.startswith("  what changed: "))
    assert "on 12 images 0 of 12 boxes of the checkpoint are missing, 0 of 12 boxes have no partner" in changed
    assert "pairs overlap by IoU 0.77" in changed or "pairs overlap by IoU 0.78" in changed
    assert lines[-2] == "  boxes moved: look at the layers that only output 'boxes' depends on"
    assert lines[-1].startswith("  The conversion itself is wrong")
    assert ExportBudgetError.exit_code == 3


@pytest.mark.parametrize("task", list(Task))
def test_every_file_of_a_bundle_agrees_with_its_checkpoint(task: Task, tmp_path: Path) -> None:
    report = export_tiny(task, tmp_path / "b")
    noted = read_manifest(tmp_path / "b").provenance["agreement"]
    assert set(noted) == {"model_fp32.onnx", "model_fp16.onnx"}
    for verdict in report.verdicts:
        values = noted[verdict.model.path]
        assert values["images"] == IMAGES
        shares = [values.get(name) for name in ("found_again", "same_class", "same_pixels") if name in values]
        assert len(shares) == 1 and shares[0] > 0.99
