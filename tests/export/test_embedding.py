"""The output `embedding`: what it is made of, that every file gives it, and what a bundle says with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cvforge.errors import ExportError
from cvforge.export.embedding import WIDTH, embedding_layer, fold, predict_with_embedding
from cvforge.export.model_card import model_card
from cvforge.export.reference import distances_from_others
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.wrap import trace
from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import SelfTestError
from cvforge_edge.predictor import Predictor
from cvforge_edge.selftest import run_self_test
from cvforge_edge.stats.embedding import EmbeddingStatistics
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import Task
from export.tiny import LABELS, TinyData, export_tiny, tiny_calibration, tiny_net, tiny_plan

LAYER = "backbone"
TINY_WIDTH = 16
INT8 = {
    "precisions": ("fp32", "int8"),
    "metric_budget": {"fp32": 0.001, "int8": 0.2},
    "tensor_tolerance": {"fp32": 1e-3, "int8": 0.5},
}


def random_features(count: int, channels: int) -> torch.Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("channels", [33, 64, 100, 1280])
def test_each_channel_is_added_to_one_number_with_its_sign(channels: int) -> None:
    matrix = fold(torch.eye(channels)).numpy()
    assert matrix.shape == (channels, WIDTH)
    assert np.count_nonzero(matrix) == channels
    rows, columns = np.nonzero(matrix)
    assert columns.tolist() == [row % WIDTH for row in rows]
    assert set(matrix[rows, columns]) == {-1.0, 1.0}
    features = random_features(3, channels).float()
    np.testing.assert_allclose(fold(features).numpy(), features.numpy() @ matrix, rtol=1e-4, atol=1e-4)


def test_signs_never_change_since_statistics_of_years_are_compared() -> None:
    digest = hashlib.shake_256(b"cvforge embedding signs").digest(5)
    expected = [2 * (byte >> bit & 1) - 1 for byte in digest for bit in range(8)]
    assert fold(torch.eye(40)).sum(dim=1).tolist() == expected
    assert expected[:8] == [1, 1, -1, 1, 1, -1, 1, 1]


def test_lengths_and_angles_are_kept_on_average() -> None:
    features = random_features(200, 1280)
    before, after = (x.float() @ x.float().T for x in (features, fold(features)))
    apart = ~torch.eye(200, dtype=torch.bool)
    assert after.diagonal().mean() / before.diagonal().mean() == pytest.approx(1, abs=0.05)
    assert (after - before)[apart].mean().abs() < 0.05 * before.diagonal().mean()


@pytest.mark.parametrize("channels", [1, 16, 32])
def test_few_channels_stay_as_they_are(channels: int) -> None:
    features = random_features(2, channels)
    assert torch.equal(fold(features), features)


class Given(nn.Module):
    """A network whose backbone gives what it is told to."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.backbone = nn.Identity()
        self.unused = nn.Identity()
        self.output = output

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.backbone(self.output)
        return {"probs": torch.zeros(len(images), 3)}


def test_the_deepest_of_several_maps_is_averaged_over_its_area() -> None:
    fine, coarse = torch.zeros(2, 4, 8, 8), torch.arange(2 * 5 * 2 * 3.0).reshape(2, 5, 2, 3)
    expected = coarse.numpy().reshape(2, 5, 6).mean(axis=2)
    images = torch.zeros(2, 32, 48, 3, dtype=torch.uint8)
    for output in (coarse, [fine, coarse], (fine, coarse), {"low": fine, "high": coarse}):
        found = predict_with_embedding(Given(output), images, LAYER)
        assert list(found) == ["probs", "embedding"]
        np.testing.assert_allclose(found["embedding"].numpy(), expected)
    pooled = coarse.mean(dim=(2, 3))
    assert torch.equal(predict_with_embedding(Given(pooled), images, LAYER)["embedding"], pooled)
    assert list(predict_with_embedding(Given(coarse), images, None)) == ["probs"]


@pytest.mark.parametrize(
    ("output", "layer", "words"),
    [
        (torch.zeros(2, 4), "neck", "embedding_layer = 'neck': there is no such layer; found backbone, unused"),
        (torch.zeros(2, 4), "unused", "predict does not come by this layer"),
        (torch.zeros(3, 4), LAYER, r"the layer gives \(3, 4\), expected \(2, c\), \(2, c, h, w\) or a list"),
        (torch.zeros(2, 4, 5), LAYER, r"the layer gives \(2, 4, 5\)"),
        ([], LAYER, "the layer gives list"),
        ("text", LAYER, "the layer gives"),
    ],
)
def test_a_layer_that_gives_no_features_is_named(output: object, layer: str, words: str) -> None:
    with pytest.raises(ExportError, match=words) as caught:
        predict_with_embedding(Given(output), torch.zeros(2, 32, 48, 3, dtype=torch.uint8), layer)
    assert caught.value.exit_code == 12


def test_a_wrong_layer_stops_the_export_before_anything_is_converted() -> None:
    plan = tiny_plan(Task.DETECTION, embedding="neck")
    with pytest.raises(ExportError, match="TinyDetector.embedding_layer = 'neck': there is no such layer"):
        trace(tiny_net(Task.DETECTION), plan.graph)


def test_a_network_that_names_no_layer_is_exported_as_before(tmp_path: Path) -> None:
    assert embedding_layer(tiny_net(Task.DETECTION)) is None
    report = export_tiny(Task.DETECTION, tmp_path / "bundle")
    assert sorted(report.manifest.outputs) == ["boxes", "scores"]
    assert "embedding" not in (report.folder / "manifest.json").read_text()
    assert "embedding" not in (report.folder / "golden" / "golden.json").read_text()
    assert "embedding" not in (report.folder / "model_card.md").read_text()


@pytest.mark.parametrize("task", list(Task))
def test_a_bundle_carries_the_statistics_of_what_its_files_give(tmp_path: Path, task: Task) -> None:
    report = export_tiny(task, tmp_path / "bundle", plan=tiny_plan(task, embedding=LAYER))
    bundle = open_bundle(report.folder)
    assert bundle.manifest.outputs["embedding"] == "embedding"
    assert all(verdict.parity["embedding"] < 1e-2 for verdict in report.verdicts)
    data = TinyData(task)
    with Predictor.of_bundle(bundle, precision="fp32") as predictor:
        images = [predictor.manifest.preprocess.apply(data[index].image_bgr)[0] for index in range(len(data))]
        points = np.stack([predictor.raw_outputs(image)["embedding"] for image in images])
        predictor.predict(data[0].image_bgr)
    assert points.shape == (12, TINY_WIDTH)
    statistics = Statistics.from_value(bundle.manifest.reference_statistics, task=task, labels=LABELS, where="m")
    found = statistics.embedding
    assert found is not None and (found.images, found.width) == (12, TINY_WIDTH)
    np.testing.assert_allclose(found.mean, points.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(points.T, bias=True), rtol=1e-2, atol=1e-6)
    assert found.distances.to_value() == report.reference.statistics.embedding.distances.to_value()  # type: ignore[union-attr]
    assert found.distances.count == 12
    card = (report.folder / "model_card.md").read_text()
    assert "embedding: layer `backbone`, 16 numbers, mean and covariance of 12 pictures; distance of each" in card
    assert f"50% within {found.distances.quantile(0.5):.2f}, 95% within" in card


def test_files_with_and_without_it_predict_the_same(tmp_path: Path) -> None:
    answers = []
    for name, layer in (("with", LAYER), ("without", None)):
        report = export_tiny(Task.DETECTION, tmp_path / name, plan=tiny_plan(Task.DETECTION, embedding=layer))
        with Predictor.from_bundle(report.folder, precision="fp32") as predictor:
            answers.append(predictor.predict(TinyData(Task.DETECTION)[1].image_bgr))
        tolerances = json.loads((report.folder / "golden" / "golden.json").read_text())["tolerances"]
        assert ("embedding" in tolerances["fp32"]) == (layer is not None)
    np.testing.assert_array_equal(answers[0].boxes_xyxy, answers[1].boxes_xyxy)
    np.testing.assert_array_equal(answers[0].scores, answers[1].scores)


def test_int8_leaves_the_embedding_in_float_and_the_tolerance_of_boxes_as_it_is(tmp_path: Path) -> None:
    tolerances = {}
    for name, layer in (("with", LAYER), ("without", None)):
        plan = tiny_plan(Task.DETECTION, embedding=layer, **INT8)
        report = export_tiny(Task.DETECTION, tmp_path / name, plan=plan, calibration=tiny_calibration(Task.DETECTION))
        tolerances[name] = json.loads((report.folder / "golden" / "golden.json").read_text())["tolerances"]["int8"]
    own = tolerances["with"].pop("embedding")
    assert tolerances["with"] == tolerances["without"]
    assert 0.05 <= own <= 1
    kinds = kinds_before(onnx.load(tmp_path / "with" / "model_int8.onnx").graph, "embedding")
    expected = ["Reshape", "ReduceMean", "DequantizeLinear", "QuantizeLinear"]
    assert kinds[:4] == expected, "the mean is of what int8 layers gave, and is not quantised itself"
    assert run_self_test(open_bundle(tmp_path / "with"), precision="int8").model == "model_int8.onnx"


def kinds_before(graph: onnx.GraphProto, tensor: str) -> list[str]:
    """Kinds of the nodes that lead to a tensor, the last first."""
    writers = {output: node for node in graph.node for output in node.output}
    kinds = []
    while tensor in writers:
        node = writers[tensor]
        kinds.append(node.op_type)
        tensor = next((name for name in node.input if name in writers), "")
    return kinds


def test_a_device_that_computes_another_embedding_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = export_tiny(Task.CLASSIFICATION, tmp_path / "bundle", plan=tiny_plan(Task.CLASSIFICATION, embedding=LAYER))
    right = Predictor.raw_outputs

    def wrong(self: Predictor, input_u8: np.ndarray) -> dict[str, np.ndarray]:
        outputs = right(self, input_u8)
        return {**outputs, "embedding": outputs["embedding"][::-1].copy()}

    monkeypatch.setattr(Predictor, "raw_outputs", wrong)
    with pytest.raises(SelfTestError, match="output 'embedding' is off by .* of its range, accepted 0.001") as caught:
        run_self_test(open_bundle(report.folder), precision="fp32")
    assert caught.value.exit_code == 9
    assert "on average" not in str(caught.value)


def test_the_batch_form_gives_one_row_an_image(tmp_path: Path) -> None:
    task = Task.SEGMENTATION
    plan = tiny_plan(task, precisions=("fp32",), batch=True, embedding=LAYER)
    report = export_tiny(task, tmp_path / "bundle", plan=plan)
    data, checkpoint = TinyData(task), TorchBackend(tiny_net(task), embedding=LAYER)
    images = np.stack([plan.preprocess.apply(data[index].image_bgr)[0] for index in range(3)])
    with Predictor.from_bundle(report.folder, batch=True) as predictor:
        found = predictor.backend.run(images)["embedding"]
    expected = np.concatenate([checkpoint.run(image[None])["embedding"] for image in images])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert run_self_test(open_bundle(report.folder), batch=True).model == "model_fp32_batch.onnx"


def test_distances_of_the_reference_are_from_images_other_than_the_image_itself() -> None:
    """With more numbers than images, an image inside its own reference would seem near whatever it shows."""
    rng = np.random.default_rng(0)
    points = list(rng.normal(size=(20, 24)))
    whole = EmbeddingStatistics(24)
    for point in points:
        whole.merge(EmbeddingStatistics.of(point))
    own, new = whole.distance(np.stack(points)), whole.distance(rng.normal(size=(200, 24)))
    found = distances_from_others(points)
    assert found.count == 20
    assert own.mean() < 0.95 * new.mean()
    assert found.mean == pytest.approx(new.mean(), rel=0.05)


@pytest.mark.parametrize("points", [[np.ones(3)], [np.ones(3)] * 12, []])
def test_images_without_spread_have_no_distances(points: list[np.ndarray]) -> None:
    assert distances_from_others(points).count == 0


def test_a_card_says_so_where_no_distance_could_be_measured() -> None:
    from export.test_model_card import DETECTION_SCORES, reference  # its own small numbers

    statistics = Statistics(Task.DETECTION, LABELS)
    statistics.embedding = EmbeddingStatistics.of(np.ones(3))
    plan = tiny_plan(Task.DETECTION, embedding=LAYER)
    known = reference(DETECTION_SCORES, statistics=statistics)
    text = model_card(plan.manifest(), [], reference=known, plan=plan)
    assert (
        "3 numbers, mean and covariance of 1 pictures; distance of each from others, where about 1 is usual: not"
        in text
    )
