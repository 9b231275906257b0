"""COCO's sparse category ids through every command: from the annotation file to the names that a camera writes."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from conftest import REPOSITORY, load_tool
from cvforge.checkpoint import EMA_PREFIX, NET_PREFIX, read_checkpoint, write_checkpoint
from cvforge.cli import run_command
from cvforge.commands.evaluate import evaluate_model
from cvforge.commands.model import OpenedModel
from cvforge.config.build import build_dataset
from cvforge.config.load import load
from cvforge_edge.bundle import open_bundle
from cvforge_edge.types import Detections, Task

BACKPACK = 27  # a category id that no dense numbering gives this name: it is the 25th category
IMAGES = 4
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def coco_root(shared_data: Path) -> Path:
    return shared_data / "detection" / "coco-open"


@pytest.fixture
def names(coco_root: Path) -> dict[int, str]:
    """Category id -> name, read from the file without our reader, ordered by id."""
    document = json.loads((coco_root / "annotations" / "instances_val2017.json").read_text())
    return {category["id"]: category["name"] for category in sorted(document["categories"], key=lambda c: c["id"])}


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a tool in this process: exit code and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(name: str, *arguments: object) -> tuple[int, str]:
        code = run_command(load_tool(name).main, [str(argument) for argument in arguments])
        return code, capsys.readouterr().err

    return run


class KnowsTheTruth:
    """Says of each image what its annotations say, crowds left out."""

    def __init__(self, dataset: object) -> None:
        kind = SimpleNamespace(kind="detection_nms")
        self.manifest = SimpleNamespace(task=Task.DETECTION, labels=dataset.labels, postprocess=kind)
        self._truths = {dataset[i].image_bgr.tobytes(): dataset.truth(i) for i in range(len(dataset))}

    def with_postprocess(self, _spec: object) -> KnowsTheTruth:
        return self

    def predict(self, image_bgr: np.ndarray) -> Detections:
        truth = self._truths[image_bgr.tobytes()]
        kept = truth.select(np.flatnonzero(~truth.is_crowd))
        return Detections(kept.boxes_xyxy, np.full(len(kept), 0.75, np.float32), kept.class_ids)


def average_precision(annotations: Path, results: Path) -> float:
    """Mean over IoU 0.50:0.95 by pycocotools, which numbers categories and images as the annotation file does."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def test_the_detections_of_a_perfect_model_score_one_against_the_annotation_file(
    coco_root: Path, names: dict[int, str], tmp_path: Path
) -> None:
    overrides = [f"data.root={coco_root}"]
    knows = KnowsTheTruth(build_dataset(load("det_coco", overrides), "val"))
    written = tmp_path / "found.json"
    scores = evaluate_model(
        OpenedModel("perfect", knows, None),  # type: ignore[arg-type]
        split="val",
        config="det_coco",
        overrides=overrides,
        detections=written,
    )
    assert scores.metrics["map"] == 1.0
    assert {key.removeprefix("ap/") for key in scores.metrics if "/" in key} <= set(names.values())
    annotations = coco_root / "annotations" / "instances_val2017.json"
    assert average_precision(annotations, written) == 1.0
    rows = json.loads(written.read_text())
    assert max(row["category_id"] for row in rows) > len(names)
    dense = tmp_path / "dense.json"  # the classic mistake is one that this test would see
    dense.write_text(json.dumps([row | {"category_id": list(names).index(row["category_id"]) + 1} for row in rows]))
    assert average_precision(annotations, dense) < 0.5


def find_only_backpacks(checkpoint_path: Path, names: dict[int, str]) -> None:
    """Raise the bias of one column of every class head, so that the name of that column can be seen at the far end."""
    checkpoint = read_checkpoint(checkpoint_path)
    state, column = checkpoint["state_dict"], list(names).index(BACKPACK)
    raised = [name for name, tensor in state.items() if "class_heads" in name and tensor.shape == (len(names),)]
    assert {name.split("class_heads")[0] for name in raised} == {NET_PREFIX, EMA_PREFIX}
    for name in raised:
        state[name][column] += 8.0
    write_checkpoint(checkpoint, checkpoint_path)


@pytest.mark.slow
def test_eighty_sparse_categories_keep_their_names_from_training_to_the_camera(
    command: Command, coco_root: Path, names: dict[int, str], tmp_path: Path
) -> None:
    run, labels = tmp_path / "run", list(names.values())
    small = ("debug=tiny", "model=edge_nano", "preprocess.size_hw=[64,64]", "trainer.precision=32-true")
    code, errors = command("train", "--config", "det_coco.yaml", f"data.root={coco_root}", f"run.dir={run}", *small)
    assert code == 0, errors
    assert len(labels) == 80
    assert json.loads((run / "data.json").read_text())["labels"] == labels

    find_only_backpacks(run / "checkpoints" / "best.ckpt", names)
    code, errors = command("evaluate", run, "--json", "scores.json", "--detections", "found.json")
    assert code == 0, errors
    scores = json.loads((tmp_path / "scores.json").read_text())
    annotations = json.loads((coco_root / "annotations" / "instances_val2017.json").read_text())["annotations"]
    present = {names[annotation["category_id"]] for annotation in annotations if not annotation["iscrowd"]}
    assert {key.removeprefix("ap/") for key in scores["metrics"] if "/" in key} == present
    rows = json.loads((tmp_path / "found.json").read_text())
    assert {row["category_id"] for row in rows if row["score"] > 0.5} == {BACKPACK}
    assert {row["category_id"] for row in rows} <= set(names)

    code, errors = command(
        "export", "--run", run, "--format", "onnx", "--precision", "fp32", "--limit", IMAGES, "--output", "bundle"
    )
    assert code == 0, errors
    assert list(open_bundle(tmp_path / "bundle").manifest.labels) == labels

    lines = camera_lines(tmp_path / "bundle", sorted((coco_root / "val2017").glob("*.jpg"))[:IMAGES], cwd=tmp_path)
    assert len(lines) == IMAGES
    for line in lines:
        assert {row["label"] for row in line["detections"] if row["score"] > 0.5} == {names[BACKPACK]}
        assert {row["class_id"] for row in line["detections"] if row["score"] > 0.5} == {list(names).index(BACKPACK)}
        assert all(row["label"] == labels[row["class_id"]] for row in line["detections"])
        assert len({row["label"] for row in line["detections"]}) > 1


def camera_lines(bundle: Path, images: list[Path], *, cwd: Path) -> list[dict[str, list[dict[str, object]]]]:
    """What deploy/edge/run_camera.py, in a process of its own, writes about some images at a low threshold."""
    (cwd / "photos").mkdir()
    for image in images:
        shutil.copy(image, cwd / "photos")
    script = REPOSITORY / "deploy" / "edge" / "run_camera.py"
    options = ["--bundle", bundle, "--source", "photos", "--score-threshold", "0.005", "--json", "out.jsonl"]
    arguments = [sys.executable, "-I", script, *options]
    done = subprocess.run([str(word) for word in arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (cwd / "out.jsonl").read_text().splitlines()]
