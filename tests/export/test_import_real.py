"""Networks that others made, imported and held against what others say about them."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from conftest import REPOSITORY
from cvforge.commands.import_onnx import ImportRequest, import_onnx
from cvforge_edge.predictor import Predictor
from cvforge_edge.types import Detections


@pytest.mark.slow
def test_fastestdet_scores_on_coco_what_independent_code_measures(shared_data: Path, tmp_path: Path) -> None:
    from runpy import run_path

    onnx, root = shared_data / "weights" / "fastestdet" / "FastestDet.onnx", shared_data / "detection" / "coco-open"
    if not onnx.is_file() or not root.is_dir():
        pytest.skip(f"needs {onnx} and {root}")
    annotations = root / "annotations" / "instances_val2017.json"
    request = ImportRequest(
        onnx,
        kind="fastestdet",
        labels=str(annotations),
        config="det_coco.yaml",
        overrides=[f"data.root={root}"],
        output=tmp_path / "bundle",
    )
    found = import_onnx(request)[0].verdicts[0].metrics
    reference = run_path(str(REPOSITORY / "benchmarks" / "fastestdet_reference.py"))["reference_scores"]
    expected = reference(onnx, images=root / "val2017", annotations=annotations, best_class_only=False)
    assert expected["map"] > 0.15
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_a_torchvision_detector_finds_what_torchvision_finds(tmp_path: Path) -> None:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    torch.manual_seed(0)
    net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4, score_thresh=0.4).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.train()  # statistics of one batch, or random weights would give every image the same empty answer
    with torch.no_grad():
        net(list(torch.rand(3, 3, 320, 320)))
    net.eval()
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (8, 10, 3)).astype(np.uint8)
        cv2.imwrite(str(photos / f"{index}.png"), cv2.resize(noise, (320, 320), interpolation=cv2.INTER_NEAREST))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself and of every branch it traces
        torch.onnx.export(
            net,
            ([torch.rand(3, 320, 320)],),
            str(tmp_path / "net.onnx"),
            dynamo=False,
            opset_version=17,
            output_names=["boxes", "scores", "labels"],
        )
    request = ImportRequest(
        tmp_path / "net.onnx",
        kind="torchvision",
        labels="a,b,c",
        images=photos,
        output=tmp_path / "bundle",
        score_threshold=0.0001,
    )
    import_onnx(request)
    counts = []
    with Predictor.from_bundle(tmp_path / "bundle") as predictor:
        for path in sorted(photos.iterdir()):
            image_bgr = cv2.imread(str(path))
            image = torch.from_numpy(np.ascontiguousarray(image_bgr[..., ::-1].transpose(2, 0, 1))).float() / 255
            with torch.inference_mode():
                (expected,) = net([image])
            found = predictor.predict(image_bgr)
            assert isinstance(found, Detections)
            counts.append(len(found))
            visible = ((expected["boxes"][:, 2:] - expected["boxes"][:, :2]) > 0).all(dim=1)
            np.testing.assert_allclose(found.scores, expected["scores"][visible], atol=1e-5)
            # Scores that agree to the last bit may change places, so each box looks for its own.
            distances = np.abs(found.boxes_xyxy[:, None] - expected["boxes"][visible].numpy()[None]).max(axis=2)
            partners = distances.argmin(axis=1)
            assert sorted(partners) == list(range(len(found)))
            assert distances.min(axis=1).max() < 0.01
            np.testing.assert_array_equal(found.class_ids + 1, expected["labels"][visible][partners])
    assert min(counts) > 10
    assert len(set(counts)) > 1  # their number depends on the image, the graph's rows do not
