"""The default tolerances on a real detector and real photos: right files pass with head-room, wrong graphs of any kind fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cvforge.commands.import_onnx import ImportRequest, _import
from cvforge.config.schema import ExportSection
from cvforge.export.compose import Import, compose
from cvforge.export.heads.table import HEADS
from cvforge.export.onnx import write_onnx_model
from cvforge.export.original_backend import OriginalBackend
from cvforge.export.parity import output_noise, relative_errors
from cvforge_edge.backends import open_backend
from cvforge_edge.preprocess import PreprocessSpec

HEADROOM = 1.4  # this detector's boxes in fp16 are the nearest: 0.0136 of 0.02 on the worst of the photos seen
IMAGES = 8
LIMITS = ExportSection()
Outputs = list[dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def detector(shared_data: Path) -> Import:
    folder = shared_data / "weights" / "fastestdet"
    if not (folder / "FastestDet.onnx").is_file():
        pytest.skip(f"needs {folder}")
    request = ImportRequest(folder / "FastestDet.onnx", kind="fastestdet", labels=str(folder / "coco.names"))
    names = tuple((folder / "coco.names").read_text().split("\n"))[:80]
    return _import(request, HEADS["fastestdet"], labels=names)


@pytest.fixture(scope="module")
def photos(detector: Import, shared_data: Path) -> list[np.ndarray]:
    paths = sorted((shared_data / "detection" / "coco-open" / "val2017").glob("*.jpg"))[:IMAGES]
    if not paths:
        pytest.skip("needs detection/coco-open")
    preprocess = PreprocessSpec(detector.original.image.size_hw, resize=detector.head.resize)
    return [preprocess.apply(cv2.imread(str(path)))[0] for path in paths]


@pytest.fixture(scope="module")
def expected(detector: Import, photos: list[np.ndarray]) -> Outputs:
    return outputs(OriginalBackend(detector), photos)


def outputs(backend: Any, photos: list[np.ndarray]) -> Outputs:
    return [{role: array[0] for role, array in backend.run(photo[None]).items()} for photo in photos]


def written(model: onnx.ModelProto, folder: Path, photos: list[np.ndarray], *, precision: str = "fp32") -> Outputs:
    """What the file says that a precision makes of a composed graph."""
    write_onnx_model(model, {precision: folder / f"{precision}.onnx"})
    return outputs(open_backend("onnxruntime", folder / f"{precision}.onnx", threads=1), photos)


def passes(expected: Outputs, found: Outputs, precision: str, *, headroom: float = 1.0) -> bool:
    noise, worst = output_noise(expected, found), relative_errors(expected, found)
    within = max(noise.values()) * headroom <= LIMITS.tensor_tolerance[precision]
    return within and max(worst.values()) * headroom <= LIMITS.tensor_peak[precision]


def scaled_layer(model: onnx.ModelProto, *, share: float, factor: float) -> onnx.ModelProto:
    """A copy in which the convolution at this share of the way through the network has other weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [node.input[1] for node in copy.graph.node if node.op_type == "Conv"]
    wanted = names[int(share * (len(names) - 1))]
    weight = next(entry for entry in copy.graph.initializer if entry.name == wanted)
    values = numpy_helper.to_array(weight) * np.float32(factor)
    weight.CopyFrom(numpy_helper.from_array(values, wanted))
    return copy


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_right_files_of_a_real_detector_pass_with_head_room(
    detector: Import, photos: list[np.ndarray], expected: Outputs, tmp_path: Path, precision: str
) -> None:
    found = written(compose(detector), tmp_path, photos, precision=precision)
    assert passes(expected, found, precision, headroom=HEADROOM)
    for start in range(0, IMAGES, 2):  # whichever photos are taken
        assert passes(expected[start : start + 2], found[start : start + 2], precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_swapped_channels_a_wrong_scale_and_a_spoilt_layer_are_refused_in_every_precision(
    detector: Import, photos: list[np.ndarray], expected: Outputs, tmp_path: Path, precision: str
) -> None:
    normalisation = detector.normalisation
    wrong_graphs = {
        "swapped": compose(replace(detector, normalisation=replace(normalisation, color="rgb"))),
        "scale": compose(replace(detector, normalisation=replace(normalisation, scale=normalisation.scale / 2))),
        "early layer": scaled_layer(compose(detector), share=0.1, factor=2.0),
        "late layer": scaled_layer(compose(detector), share=0.9, factor=0.0),
    }
    for name, graph in wrong_graphs.items():
        folder = tmp_path / name
        folder.mkdir()
        found = written(graph, folder, photos)  # wrong before any rounding
        assert not passes(expected, found, precision), name


def test_boxes_in_another_scale_or_shifted_by_half_their_size_are_refused_in_every_precision(expected: Outputs) -> None:
    for factor, shift in ((1.1, 0.0), (1.0, 30.0)):
        found = [{**entry, "boxes": factor * entry["boxes"] + np.float32(shift)} for entry in expected]
        for precision in ("fp32", "fp16", "int8"):
            assert not passes(expected, found, precision)


def test_one_percent_on_one_layer_is_refused_in_single_precision(
    detector: Import, photos: list[np.ndarray], expected: Outputs, tmp_path: Path
) -> None:
    found = written(scaled_layer(compose(detector), share=0.5, factor=1.01), tmp_path, photos)
    assert not passes(expected, found, "fp32")
