"""Imported graphs of every kind: known answers, names, shapes, and no trace of the machine they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cvforge.errors import CheckpointError, ConfigError, ExportError
from cvforge.export.compose import Import, Normalisation, compose
from cvforge.export.heads.head import DecodeSpec
from cvforge.export.heads.table import HEADS
from cvforge.export.onnx import write_onnx_model
from cvforge.export.original import choose_outputs, read_original
from cvforge.export.original_backend import OriginalBackend
from cvforge_edge.backends import open_backend
from export.small_onnx import (
    BOXES_XYXY,
    LABELS,
    SIZE_HW,
    SMALL,
    Network,
    save_logits,
    save_torchvision,
    save_ultralytics,
)

RED, GREEN, BLUE = 1.0, 0.6, 0.2
IMAGE_RGB = np.broadcast_to(np.array([255, 153, 51], np.uint8), (1, *SIZE_HW, 3)).copy()
PLAIN = Normalisation("rgb", 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def plan_of(
    path: Path,
    kind: str,
    *,
    normalisation: Normalisation = PLAIN,
    outputs: tuple[str, ...] | None = None,
    label_ids: tuple[int, ...] | None = None,
    max_detections: int = 3,
) -> Import:
    head = HEADS[kind]
    original = read_original(path, size_hw=None)
    chosen = choose_outputs(original, head.outputs, outputs, kind=kind)
    shapes = tuple(original.outputs[name] for name in chosen)
    assert head.fits(shapes)
    first = head.first_label_id
    ids = label_ids or (() if first is None else tuple(range(first, first + len(LABELS))))
    spec = DecodeSpec(SIZE_HW, len(LABELS), shapes, ids, max_detections)
    return Import(original, head, chosen, spec, normalisation)


def answers(plan: Import, folder: Path, image_rgb: np.ndarray = IMAGE_RGB) -> dict[str, np.ndarray]:
    """What the written file says, once it is shown that the file as it was, decoded in numpy, says the same."""
    path = folder / "composed.onnx"
    write_onnx_model(compose(plan), {"fp32": path})
    found = open_backend("onnxruntime", path, threads=1).run(image_rgb)
    reference = OriginalBackend(plan).run(image_rgb)
    assert found.keys() == reference.keys()
    for role, values in reference.items():
        np.testing.assert_allclose(found[role], values, atol=1e-5)
        assert found[role].dtype == values.dtype == np.float32
    return found


def small(kind: str, folder: Path, **options: object) -> Path:
    return SMALL[kind](folder / "original.onnx", **options)


def test_every_kind_has_a_small_network_here() -> None:
    assert SMALL.keys() == HEADS.keys()


def test_fastestdet_boxes_are_centred_on_cell_corners_and_scores_are_powered(tmp_path: Path) -> None:
    found = answers(plan_of(small("fastestdet", tmp_path), "fastestdet"), tmp_path)
    centres = [(0, 0), (8, 0), (16, 0), (0, 8), (8, 8), (16, 8)]  # cells of 8 x 8 pixels, row by row
    expected = [(x - 6, y - 4, x + 6, y + 4) for x, y in centres]  # half the input: 12 wide, 8 high
    np.testing.assert_allclose(found["boxes"][0], expected, atol=1e-5)
    scores = [0.25**0.6 * value**0.4 for value in (RED, GREEN, BLUE)]
    np.testing.assert_allclose(found["scores"][0], [scores] * 6, atol=1e-6)


def test_ultralytics_centres_and_sizes_become_corners(tmp_path: Path) -> None:
    found = answers(plan_of(small("ultralytics", tmp_path), "ultralytics"), tmp_path)
    np.testing.assert_allclose(found["boxes"][0], BOXES_XYXY, atol=1e-5)
    np.testing.assert_allclose(found["scores"][0], [[RED, GREEN, BLUE]] * 2, atol=1e-6)


@pytest.mark.parametrize(("rows", "kept"), [(1, 1), (2, 2), (4, 2)])
def test_torchvision_detections_are_cut_or_filled_to_a_fixed_number(tmp_path: Path, rows: int, kept: int) -> None:
    found = answers(plan_of(small("torchvision", tmp_path), "torchvision", max_detections=rows), tmp_path)
    boxes, scores = np.zeros((rows, 4)), np.zeros((rows, 3))
    boxes[:kept] = BOXES_XYXY[:kept]
    scores[0, 2] = RED  # its first detection has label 3, the last one when 0 is background
    scores[1:2, 0] = GREEN
    np.testing.assert_allclose(found["boxes"][0], boxes)
    np.testing.assert_allclose(found["scores"][0], scores, atol=1e-6)


def test_numbers_of_labels_may_have_gaps_and_unknown_ones_score_nowhere(tmp_path: Path) -> None:
    plan = plan_of(small("torchvision", tmp_path), "torchvision", label_ids=(7, 3, 90), max_detections=2)
    np.testing.assert_allclose(answers(plan, tmp_path)["scores"][0], [[0, RED, 0], [0, 0, 0]], atol=1e-6)


def test_end2end_rows_are_taken_apart(tmp_path: Path) -> None:
    found = answers(plan_of(small("end2end", tmp_path), "end2end"), tmp_path)
    np.testing.assert_allclose(found["boxes"][0], BOXES_XYXY)
    np.testing.assert_allclose(found["scores"][0], [[0, 0, RED], [GREEN, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_logits_get_a_softmax(tmp_path: Path, shape: tuple[int, ...]) -> None:
    found = answers(plan_of(small("logits", tmp_path, shape=shape), "logits"), tmp_path)
    powers = np.exp([10 * RED, 10 * GREEN, 10 * BLUE])
    np.testing.assert_allclose(found["probs"], [powers / powers.sum()], rtol=1e-5)


def test_probabilities_stay_as_they_are(tmp_path: Path) -> None:
    found = answers(plan_of(small("probs", tmp_path), "probs"), tmp_path)
    powers = np.exp([10 * RED, 10 * GREEN, 10 * BLUE])
    np.testing.assert_allclose(found["probs"], [powers / powers.sum()], rtol=1e-5)


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "chw"])
@pytest.mark.parametrize("element_type", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_colour_order_scale_mean_and_std_reach_the_network(tmp_path: Path, layout: str, element_type: int) -> None:
    path = save_ultralytics(tmp_path / "original.onnx", layout=layout, element_type=element_type)
    normalisation = Normalisation("bgr", 1 / 255, (0.1, 0.2, 0.5), (0.5, 1.0, 2.0))
    found = answers(plan_of(path, "ultralytics", normalisation=normalisation), tmp_path)
    expected = [(BLUE - 0.1) / 0.5, (GREEN - 0.2) / 1.0, (RED - 0.5) / 2.0]
    np.testing.assert_allclose(found["scores"][0, 0], expected, atol=1e-3)


def test_a_network_that_takes_bytes_gets_grey_levels(tmp_path: Path) -> None:
    path = save_ultralytics(tmp_path / "original.onnx", element_type=TensorProto.UINT8, factor=1 / 255)
    found = answers(plan_of(path, "ultralytics"), tmp_path)
    np.testing.assert_allclose(found["scores"][0, 0], [RED, GREEN, BLUE], atol=1e-6)


@pytest.mark.parametrize("kind", HEADS)
def test_the_written_graph_is_that_of_the_contract(tmp_path: Path, kind: str) -> None:
    plan = plan_of(small(kind, tmp_path), kind)
    write_onnx_model(compose(plan), {"fp32": tmp_path / "a.onnx", "fp16": tmp_path / "half.onnx"})
    write_onnx_model(compose(plan), {"fp32": tmp_path / "b.onnx"})
    data = (tmp_path / "a.onnx").read_bytes()
    assert data == (tmp_path / "b.onnx").read_bytes()
    assert b"somebody" not in data
    assert str(tmp_path).encode() not in data
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    (image,) = model.graph.input
    assert (image.name, image.type.tensor_type.elem_type) == ("image", TensorProto.UINT8)
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim] == [1, *SIZE_HW, 3]
    found = {output.name: [dim.dim_value for dim in output.type.tensor_type.shape.dim] for output in model.graph.output}
    rows = {"fastestdet": 6, "ultralytics": 2, "torchvision": 3, "end2end": 2}.get(kind)
    assert found == ({"probs": [1, 3]} if rows is None else {"boxes": [1, rows, 4], "scores": [1, rows, 3]})


def test_names_that_the_contract_needs_are_given_back_by_the_network_even_inside_branches(tmp_path: Path) -> None:
    network = Network(name="image")
    branches = []
    for number, factor in enumerate((10.0, 0.0)):
        weight = onnx.numpy_helper.from_array(np.array(factor, np.float32), f"factor_{number}")
        # `image` is the network's own input here, looked up from outside the branch.
        nodes = [
            helper.make_node("ReduceMean", ["image"], [f"mean_{number}"], axes=[2, 3], keepdims=0),
            helper.make_node("Mul", [f"mean_{number}", weight.name], [f"result_{number}"]),
        ]
        result = helper.make_tensor_value_info(f"result_{number}", TensorProto.FLOAT, (1, 3))
        branches.append(helper.make_graph(nodes, f"branch_{number}", [], [result], [weight]))
    condition = network.weight(True, np.bool_)
    network.node("If", condition, output="probs", then_branch=branches[0], else_branch=branches[1])
    path = network.save(tmp_path / "original.onnx", [("probs", (1, 3))])
    powers = np.exp([10 * RED, 10 * GREEN, 10 * BLUE])
    found = answers(plan_of(path, "logits"), tmp_path)
    np.testing.assert_allclose(found["probs"], [powers / powers.sum()], rtol=1e-5)


def test_an_output_that_is_not_read_goes_with_its_nodes_and_weights(tmp_path: Path) -> None:
    network = Network()
    network.node("Mul", "means", network.weight(10.0), output="logits")
    network.node("MatMul", "means", network.weight(np.ones((3, 500))), output="embedding")
    path = network.save(tmp_path / "original.onnx", [("logits", (1, 3)), ("embedding", (1, 500))])
    plan = plan_of(path, "logits", outputs=("logits",))
    composed = compose(plan)
    assert "MatMul" not in {node.op_type for node in composed.graph.node}
    assert max(np.prod(weight.dims, dtype=int) for weight in composed.graph.initializer) < 500
    answers(plan, tmp_path)


def test_weights_that_an_old_file_lists_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = onnx.load(save_logits(tmp_path / "new.onnx"))
    for weight in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    model.ir_version = 3
    onnx.save(model, tmp_path / "original.onnx")
    answers(plan_of(tmp_path / "original.onnx", "logits"), tmp_path)


def test_open_sizes_become_the_one_that_is_asked_for(tmp_path: Path) -> None:
    model = onnx.load(save_logits(tmp_path / "fixed.onnx"))
    for axis in (0, 2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"axis_{axis}"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "axis_0"
    onnx.save(model, tmp_path / "open.onnx")
    original = read_original(tmp_path / "open.onnx", size_hw=(32, 40))
    assert original.image.shape == (1, 3, 32, 40)
    assert original.outputs == {"logits": (1, 3)}
    with pytest.raises(ConfigError, match=r"height and width are dynamic, \(\?, \?\), .*give --size HEIGHT,WIDTH"):
        read_original(tmp_path / "open.onnx", size_hw=None)


def test_a_size_that_contradicts_the_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--size: found 32,40, but the graph of a.onnx is made for \(16, 24\)"):
        read_original(save_logits(tmp_path / "a.onnx"), size_hw=(32, 40))


def test_an_imported_file_is_not_imported_again(tmp_path: Path) -> None:
    path = tmp_path / "once.onnx"
    write_onnx_model(compose(plan_of(small("probs", tmp_path), "probs")), {"fp32": path})
    with pytest.raises(ExportError, match="names that begin with cvforge/, so it was imported before"):
        compose(plan_of(path, "probs"))


def test_an_old_opset_is_refused_with_what_to_do(tmp_path: Path) -> None:
    model = onnx.load(save_logits(tmp_path / "new.onnx"))
    model.opset_import[0].version = 9
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(ExportError, match="old.onnx: found opset 9, accepted 11 and newer; export the network again"):
        read_original(tmp_path / "old.onnx", size_hw=None)


@pytest.mark.parametrize("content", [b"", b"not a network", None])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.onnx"
    if content is None:
        data = save_logits(path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="a.onnx: damaged or not a valid ONNX model"):
        read_original(path, size_hw=None)
    assert CheckpointError.exit_code == 5


@pytest.mark.parametrize(
    ("outputs", "error", "words"),
    [
        (
            None,
            ExportError,
            r"found outputs boxes \(2, 4\), scores \(2\), labels \(2\); kind 'ultralytics' reads output0",
        ),
        (("rows",), ConfigError, "--outputs: found rows; kind 'ultralytics' reads 1"),
        (("boxes", "scores"), ConfigError, "--outputs: found boxes, scores; kind 'ultralytics' reads 1"),
    ],
)
def test_the_outputs_of_another_kind_are_refused(
    tmp_path: Path, outputs: tuple[str, ...] | None, error: type[Exception], words: str
) -> None:
    original = read_original(save_torchvision(tmp_path / "a.onnx"), size_hw=None)
    with pytest.raises(error, match=words):
        choose_outputs(original, HEADS["ultralytics"].outputs, outputs, kind="ultralytics")
