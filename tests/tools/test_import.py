"""tools/export.py import: a bundle that passes its self-test, what it says about itself, and bad input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conftest import load_tool
from cvforge.cli import run_command
from cvforge.commands.import_options import read_labels, triple
from cvforge.errors import ConfigError
from cvforge.export.heads.table import HEADS
from cvforge.export.measurements import read_measurements
from cvforge_edge.benchmark.cost import FileCost
from cvforge_edge.bundle import open_bundle
from cvforge_edge.predictor import Predictor
from cvforge_edge.selftest import run_self_test
from cvforge_edge.stats.statistics import Statistics
from export.small_onnx import BOXES_XYXY, SIZE_HW, SMALL, save_logits, save_torchvision, save_ultralytics

Import = Callable[..., tuple[int, str, str]]
COLOURS = "red,green,blue"
PLAIN = ["--mean", "0", "--std", "1"]


@pytest.fixture
def run_import(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Import:
    """Runs the command in this process, without measuring: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = run_command(
                load_tool("export").main, ["import", "--no-measure", *(str(argument) for argument in arguments)]
            )
        except SystemExit as end:  # argparse found it
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of the networks' own size: whether red or blue comes first changes what they say."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        image_bgr = np.full((*SIZE_HW, 3), (51, 153, 255 - 20 * index), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), image_bgr)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.parametrize("kind", HEADS)
def test_every_kind_becomes_a_bundle_that_passes_its_self_test(
    run_import: Import, photos: Path, tmp_path: Path, kind: str
) -> None:
    SMALL[kind](tmp_path / "net.onnx")
    options = PLAIN if HEADS[kind].mean is None else []
    arguments = ["--onnx", "net.onnx", "--kind", kind, "--labels", COLOURS, "--images", photos, *options]
    code, out, err = run_import(*arguments)
    assert code == 0, err
    assert "compared on 3 images, not scored" in out
    assert "bundle: bundles/net" in out
    bundle = open_bundle(tmp_path / "bundles" / "net")
    assert run_self_test(bundle, backend="onnxruntime").items == 3
    assert bundle.manifest.labels == ("red", "green", "blue")
    assert bundle.manifest.postprocess.kind == HEADS[kind].postprocess
    assert bundle.manifest.metrics == ()
    seen = dict(bundle.manifest.reference_statistics)
    task, labels = bundle.manifest.task, bundle.manifest.labels
    assert Statistics.from_value(seen, task=task, labels=labels, where="manifest.json").images == 3
    assert set(bundle.manifest.provenance["worst_output_error"]) == {"model_fp32.onnx"}
    assert "agreement with the imported file" in out
    assert bundle.manifest.provenance["agreement"]["model_fp32.onnx"]["images"] == 3
    assert read_measurements(bundle.folder).checkpoint_latency_ms > 0
    assert read_measurements(bundle.folder).files == {}
    assert "report: bundles/net.report.html" in out
    assert str(tmp_path) not in (bundle.folder / "manifest.json").read_text()


def test_an_imported_file_is_measured_unless_that_is_not_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    save_ultralytics(tmp_path / "net.onnx")
    arguments = ["--onnx", "net.onnx", "--kind", "ultralytics", "--labels", COLOURS, "--images", str(photos)]
    assert run_command(load_tool("export").main, ["import", *arguments, "--precision", "fp32,fp16"]) == 0
    printed = capsys.readouterr()
    assert "measure files on this machine" in printed.err
    assert "the imported file" in printed.out
    assert "start, ms" in printed.out
    costs = read_measurements(tmp_path / "bundles" / "net").files
    assert [type(cost) for cost in costs.values()] == [FileCost, FileCost]
    assert (tmp_path / "bundles" / "net.pareto.png").is_file()  # size against latency: there is no score


def test_the_device_finds_the_boxes_in_pixels_of_a_larger_image(
    run_import: Import, photos: Path, tmp_path: Path
) -> None:
    save_ultralytics(tmp_path / "net.onnx")
    code, _, err = run_import(
        "--onnx", "net.onnx", "--kind", "ultralytics", "--labels", COLOURS, "--images", photos, "--score-threshold", 0.9
    )
    assert code == 0, err
    image_bgr = np.full((SIZE_HW[0] * 2, SIZE_HW[1] * 2, 3), (0, 0, 255), np.uint8)
    with Predictor.from_bundle(tmp_path / "bundles" / "net") as predictor:
        found = predictor.predict(image_bgr)
    np.testing.assert_allclose(found.boxes_xyxy, BOXES_XYXY * 2)  # type: ignore[union-attr]
    assert found.class_ids.tolist() == [0, 0]  # type: ignore[union-attr]


def test_a_network_that_finds_nothing_in_any_image_is_suspicious(
    run_import: Import, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_ultralytics(tmp_path / "net.onnx", factor=0.01)
    arguments = ["--onnx", "net.onnx", "--kind", "ultralytics", "--labels", COLOURS, "--images", photos]
    assert run_import(*arguments)[0] == 0
    assert "nothing is found in any golden image" in caplog.text
    caplog.clear()
    assert run_import(*arguments, "--force", "--score-threshold", "0.005")[0] == 0
    assert "nothing is found" not in caplog.text


def test_the_bundle_says_what_was_imported_and_what_was_not_proven(
    run_import: Import, photos: Path, tmp_path: Path
) -> None:
    path = save_logits(tmp_path / "net.onnx")
    options = ["--mean", "0.5", "--std", "0.25", "--color", "bgr", "--name", "colours", "--precision", "fp32,fp16"]
    code, _, err = run_import(
        "--onnx", path, "--kind", "logits", "--labels", COLOURS, "--images", photos, "--output", "out", *options
    )
    assert code == 0, err
    manifest = open_bundle(tmp_path / "out").manifest
    imported = manifest.provenance["imported"]
    assert (imported["file"], imported["kind"], imported["color"]) == ("net.onnx", "logits", "bgr")
    assert (imported["mean"], imported["std"]) == ([0.5] * 3, [0.25] * 3)
    assert [model.path for model in manifest.models] == ["model_fp32.onnx", "model_fp16.onnx"]
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert card.startswith("# colours, version 1")
    assert "Not scored: there were 3 images without truth" in card
    assert "| model_fp16.onnx | 3 of 3 | 0.00" in card
    assert "CVForge did not train this network. It was imported from `net.onnx`" in card
    assert "Not proven:\n- that colour order, normalisation, resizing and order of the labels" in card
    assert "It was trained for classification of red, green, blue elsewhere." in card
    assert "## Classes\n\nred, green, blue\n" in card
    assert "Not measured: how often it is right, anywhere." in card
    assert "- compared on `images without truth`: " in card
    assert "tools/evaluate.py bundles/colours --config NAME data.root=FOLDER     # scores on your own data" in card
    for words in ("confidence interval", "validation set", "the scores above"):
        assert words not in card


def test_an_imported_classifier_is_scored_on_the_data_of_a_config(run_import: Import, tmp_path: Path) -> None:
    from cvforge.config import build
    from cvforge.config.load import load

    config = load("cls_demo.yaml", ["data.val.count=12"])
    labels = ",".join(build.build_dataset(config, "val").labels)
    model = onnx.load(save_logits(tmp_path / "net.onnx"))
    classes = len(labels.split(","))
    weights = np.eye(3, classes, dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "widen"))
    model.graph.node.append(helper.make_node("MatMul", ["logits", "widen"], ["wide"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("wide", TensorProto.FLOAT, (1, classes)))
    onnx.save(model, tmp_path / "net.onnx")
    arguments = ["--onnx", "net.onnx", "--kind", "logits", "--labels", labels, *PLAIN, "--config", "cls_demo.yaml"]
    code, out, err = run_import(*arguments, "data.val.count=12", "--limit", "8")
    assert code == 0, err
    assert "top1 on val, 8 of 12 images" in out
    card = (tmp_path / "bundles" / "net" / "model_card.md").read_text()
    assert "--config NAME data.root=FOLDER     # the scores above, again" in card
    manifest = open_bundle(tmp_path / "bundles" / "net").manifest
    assert [entry.subject for entry in manifest.metrics] == ["checkpoint", "model_fp32.onnx"]
    assert manifest.metrics[0].values == manifest.metrics[1].values
    assert "the imported file" in out


def test_a_decoder_in_the_graph_that_differs_from_numpy_stops_the_import(
    run_import: Import, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = HEADS["ultralytics"]

    def wrong_decode(*arguments: object) -> dict[str, np.ndarray]:
        right = head.decode(*arguments)  # type: ignore[arg-type]
        return {**right, "boxes": right["boxes"] + 1}

    monkeypatch.setitem(HEADS, "ultralytics", dataclasses.replace(head, decode=wrong_decode))
    save_ultralytics(tmp_path / "net.onnx")
    code, _, err = run_import("--onnx", "net.onnx", "--kind", "ultralytics", "--labels", COLOURS, "--images", photos)
    assert code == 3
    assert "output 'boxes' differs by 0.053 of its range" in err
    assert not (tmp_path / "bundles" / "net").exists()


CASES = [
    (["--onnx", "none.onnx"], 5, "--onnx none.onnx: no such file"),
    (["--kind", "yolo"], 2, "invalid choice: 'yolo'"),
    (
        ["--labels", "red,green"],
        2,
        "found 2 names, but net.onnx has 3 classes: output0 (1, 7, 2), which this kind reads as",
    ),
    (["--labels", "red,red,blue"], 2, "labels[1]: 'red' is already labels[0]"),
    (["--labels", "names.txt"], 2, "--labels names.txt: cannot be read (No such file or directory)"),
    (
        ["--kind", "fastestdet"],
        12,
        "found output0 (1, 7, 2); kind 'fastestdet' accepts (1, 5 + classes, rows, columns)",
    ),
    (["--kind", "torchvision"], 12, "found outputs output0 (1, 7, 2); kind 'torchvision' reads boxes, scores, labels"),
    (["--outputs", "output1"], 2, "--outputs: found output1"),
    (["--size", "64"], 2, "--size: found 64,64, but the graph of net.onnx is made for (16, 24)"),
    (["--size", "64x64"], 2, "found '64x64', accepted HEIGHT,WIDTH"),
    (
        ["--mean", "123.7,116.3,103.5"],
        2,
        "with --scale 0.00392157 channels run from 0 to 1; means in grey levels go with",
    ),
    (["--mean", "1,2"], 2, "found '1,2', accepted three numbers"),
    (["--std", "0"], 2, "--std: found (0.0, 0.0, 0.0), accepted numbers above 0"),
    (["--scale", "0"], 2, "found '0', accepted a number above 0 such as 1, 1/255"),
    (["--label-ids", "1-3"], 2, "--label-ids: kind 'ultralytics' gives a score for each class"),
    (["--label-ids", "1..3"], 2, "found '1..3', accepted whole numbers and ranges"),
    (["--score-threshold", "2"], 2, "score_threshold: found 2.0, accepted a number in 0..1"),
    (["--pad-value", "300"], 2, "pad_value: found 300, accepted whole numbers in 0..255"),
    (["--precision", "int8"], 2, "--precision: found int8; an import accepts fp32, fp16"),
    (["--name", "my net"], 2, "found 'my net'"),
    (["--output", "photos"], 2, "photos: exists and is not a bundle"),
    (["--images", "nowhere"], 4, "--images nowhere: which is no folder; give a folder with real images"),
    (["--images", "empty"], 4, "--images empty: which holds no image"),
    (["--config", "det_demo.yaml"], 2, "give --images FOLDER (outputs are compared) or --config NAME"),
    (["--limit", "3"], 2, "--limit belongs to --config"),
    (["data.root=x"], 2, "data.root=x: without a config only keys of export can be changed"),
    (["export.tensor_tolerence.fp32=1"], 2, "export.tensor_tolerence: unknown key; did you mean 'tensor_tolerance'?"),
    (["export.tensor_tolerance.fp32=-1"], 2, "export.tensor_tolerance.fp32: found -1, expected a number >= 0"),
    (["export.tensor_peak=[1]"], 2, "export.tensor_peak"),
    (
        ["--onnx", "logits.onnx", "--kind", "logits"],
        2,
        "--mean, --std: missing; networks of kind 'logits' have no conv",
    ),
    (
        ["--onnx", "logits.onnx", "--kind", "probs", *PLAIN],
        12,
        "probs run from 2 to 10 on a real image, accepted 0 to 1",
    ),
    (["--onnx", "fractions.onnx"], 12, "no box reaches beyond 0.833, accepted pixels of the input"),
    (["--onnx", "bytes.onnx", "--scale", "1"], 2, "input 'image' takes uint8, so the network normalises by itself"),
    (["--onnx", "two.onnx"], 12, "found inputs image (1, 3, 16, 24) float, size (2) int64; accepted one image"),
    (["--onnx", "tv.onnx", "--kind", "torchvision", "--label-ids", "1-2"], 2, "found 2 numbers for 3 labels"),
]


@pytest.mark.parametrize(("changes", "code", "words"), CASES, ids=lambda value: str(value)[:50])
def test_bad_input_ends_with_its_code_and_a_message(
    run_import: Import, photos: Path, tmp_path: Path, changes: list[str], code: int, words: str
) -> None:
    save_ultralytics(tmp_path / "net.onnx")
    save_ultralytics(tmp_path / "fractions.onnx", boxes_xyxy=BOXES_XYXY / 24)
    save_ultralytics(tmp_path / "bytes.onnx", element_type=TensorProto.UINT8, factor=1 / 255)
    save_logits(tmp_path / "logits.onnx")
    save_torchvision(tmp_path / "tv.onnx")
    two = onnx.load(tmp_path / "net.onnx")
    two.graph.input.append(helper.make_tensor_value_info("size", TensorProto.INT64, (2,)))
    onnx.save(two, tmp_path / "two.onnx")
    (tmp_path / "empty").mkdir()
    options = {"--onnx": "net.onnx", "--kind": "ultralytics", "--labels": COLOURS, "--images": "photos"}
    given = [word for pair in options.items() if pair[0] not in changes for word in pair]
    found, _, err = run_import(*given, *changes)
    assert words in " ".join(err.split())
    assert found == code
    assert "Traceback" not in err
    assert not (tmp_path / "bundles" / "net").exists()


def test_a_bundle_is_replaced_only_when_asked(run_import: Import, photos: Path, tmp_path: Path) -> None:
    save_ultralytics(tmp_path / "net.onnx")
    arguments = ["--onnx", "net.onnx", "--kind", "ultralytics", "--labels", COLOURS, "--images", "photos"]
    assert run_import(*arguments)[0] == 0
    code, _, err = run_import(*arguments)
    assert code == 6
    assert "holds a bundle already; give another name, or --force" in err
    assert run_import(*arguments, "--force")[0] == 0


def test_labels_come_from_a_list_a_text_file_or_coco_categories(tmp_path: Path) -> None:
    lines, coco = tmp_path / "coco.names", tmp_path / "instances.json"
    lines.write_text("cat\ntraffic light\n\n")
    coco.write_text(json.dumps({"categories": [{"id": 9, "name": "traffic light"}, {"id": 2, "name": "cat"}]}))
    for text in ("cat, traffic light", str(lines), str(coco)):
        assert read_labels(text) == ("cat", "traffic light")
    coco.write_text("[1]")
    with pytest.raises(ConfigError, match="instances.json: no COCO annotation file"):
        read_labels(str(coco))


def test_one_number_stands_for_three_channels() -> None:
    assert triple("0.5") == (0.5, 0.5, 0.5)
    assert triple("1, 2,1/4") == (1.0, 2.0, 0.25)
