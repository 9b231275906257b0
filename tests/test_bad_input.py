"""What a user can hand to `tools/train.py` by mistake: each ends with its exit code and a message, not with a traceback.

Data are checked before a network is built, so most of these take a moment. Bad keys and values: tools/test_train_cli.py and
config/test_load.py; bundles, videos, other commands: tools/test_export_evaluate_predict.py, edge/test_run_camera.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from conftest import load_tool
from cvforge.checkpoint import IDENTITY_KEY, identity, read_checkpoint, write_checkpoint
from cvforge.cli import run_command
from cvforge.config.load import load, resolved_yaml
from cvforge.runs import create_run

Train = Callable[..., tuple[int, str]]
COCO_IMAGE = {"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}
COCO_ANNOTATION = {"id": 5, "image_id": 1, "category_id": 18, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0}
TINY = ("debug=tiny", "preprocess.size_hw=[32,32]", "trainer.precision=32-true", "trainer.threads=1")


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Train:
    """Runs `tools/train.py` in this process: exit code and standard error."""
    monkeypatch.chdir(tmp_path)
    main = load_tool("train").main

    def run(*arguments: object) -> tuple[int, str]:
        code = run_command(main, [str(argument) for argument in arguments])
        return code, capsys.readouterr().err

    return run


def write_image(path: Path, size_hw: tuple[int, int] = (40, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def voc(root: Path, *, ids: str = "a\n", label: str = "RBC") -> None:
    for split in ("train", "val", "test"):
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(ids)
    write_image(root / "JPEGImages" / "a.jpg")
    (root / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (root / "Annotations" / "a.xml").write_text(
        f"<annotation><size><width>60</width><height>40</height></size><object><name>{label}</name>{box}</object></annotation>"
    )


def coco(root: Path, *, more: Sequence[dict[str, object]] = (), **changes: object) -> None:
    document = {
        "images": [COCO_IMAGE],
        "annotations": [COCO_ANNOTATION | changes, *(COCO_ANNOTATION | annotation for annotation in more)],
        "categories": [{"id": 18, "name": "dog"}],
    }
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        write_image(root / split / "a.jpg")
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))


def masks(root: Path, *, size_hw: tuple[int, int] = (40, 60)) -> None:
    for split in ("train", "val"):
        write_image(root / split / "a.png")
        (root / f"{split}annot").mkdir()
        assert cv2.imwrite(str(root / f"{split}annot" / "a.png"), np.zeros(size_hw, np.uint8))


def class_folders(root: Path, *names: str) -> None:
    for split in ("train", "validation"):
        for name in names:
            write_image(root / split / name / "a.jpg")


def annotation_without_image(root: Path) -> None:
    coco(root)
    (root / "train2017" / "a.jpg").unlink()


def image_without_annotation(root: Path) -> None:
    voc(root)
    (root / "Annotations" / "a.xml").unlink()


def image_without_mask(root: Path) -> None:
    masks(root)
    (root / "trainannot" / "a.png").unlink()


@pytest.mark.parametrize(
    ("config", "spoilt", "words"),
    [
        ("det_bccd", lambda root: voc(root, ids=""), "train.txt: names no image; expected one image id a line"),
        (
            "det_bccd",
            lambda root: voc(root, ids="a\nb\n"),
            "JPEGImages/b.*: the split names this image, but there is no",
        ),
        ("det_bccd", image_without_annotation, "a.xml: the split names this image, but its annotation does not exist"),
        ("det_bccd", lambda root: voc(root, label="cow"), "found class 'cow', accepted RBC, WBC, Platelets"),
        ("det_coco", annotation_without_image, "a.jpg: the annotations list this image, but there is no such file"),
        ("det_coco", lambda root: coco(root, image_id=9), "image_id: found 9, which is no id of an image in this file"),
        ("det_coco", lambda root: coco(root, category_id=7), "category_id: found 7, which is no category of this file"),
        ("det_coco", lambda root: coco(root, area=float("nan")), "found NaN, expected a finite number"),
        ("det_coco", lambda root: coco(root, area=float("inf")), "found Infinity, expected a finite number"),
        ("det_coco", lambda root: coco(root, bbox=[1, 2, -3, 4]), "expected width and height of 0 or more"),
        ("det_coco", coco, "found 1 classes (dog), but data.num_classes is 80; give data.num_classes=1"),
        (
            "seg_camvid",
            lambda root: masks(root, size_hw=(60, 40)),
            "the mask is 40x60 pixels (width x height), its image",
        ),
        ("seg_camvid", image_without_mask, "train/a.png: no mask a.* in trainannot"),
        ("cls_clothing", lambda root: class_folders(root, "hat"), "found 1 classes (hat), but data.num_classes is 10"),
    ],
)
def test_data_that_cannot_be_right_end_with_4_before_anything_is_started(
    train: Train, tmp_path: Path, config: str, spoilt: Callable[[Path], None], words: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    spoilt(root)
    code, errors = train("--config", config, f"data.root={root}")
    assert words in errors
    assert (code, errors.count("error: "), "Traceback" in errors) == (4, 1, False)
    assert not (tmp_path / "runs").exists()


def test_boxes_of_zero_area_or_outside_are_told_and_the_run_goes_on_without_them(train: Train, tmp_path: Path) -> None:
    bad = [{"id": 6, "bbox": [5, 5, 0, 9]}, {"id": 7, "bbox": [70, 5, 5, 5]}, {"id": 8, "bbox": [50, 30, 20, 20]}]
    coco(tmp_path / "data", more=bad)
    small = (
        "model=edge_nano",
        "data.num_classes=1",
        "preprocess.size_hw=[64,64]",
        *(key for key in TINY if "size_hw" not in key),
    )
    run = tmp_path / "run"
    code, errors = train("--config", "det_coco", f"data.root={tmp_path / 'data'}", f"run.dir={run}", *small)
    assert code == 0, errors
    told = (
        "instances_train2017.json: 1 boxes of zero area dropped (annotation id 6); 1 boxes wholly outside the image "
        "dropped (annotation id 7); 1 boxes partly outside the image clipped (annotation id 8)"
    )
    assert f"warning: COCO annotations {tmp_path / 'data' / 'annotations'}/{told}\n" in errors
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_a_disk_full_while_saving_ends_a_run_with_10_and_the_earlier_checkpoint_goes_on(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, started = tmp_path / "run", []
    real_open = Path.open

    def open_second_on_a_full_disk(self: Path, mode: str = "r", *arguments: object, **names: object) -> object:
        if ".ckpt" in self.name and "w" in mode:
            started.append(self.name)
            if len(started) == 2:
                return real_open(Path("/dev/full"), mode)
        return real_open(self, mode, *arguments, **names)

    counts = ("data.train.count=8", "data.val.count=4", "trainer.max_epochs=3")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", open_second_on_a_full_disk)
        code, errors = train("--config", "cls_demo", f"run.dir={run}", *TINY, *counts)
    assert f"error: {run / 'checkpoints' / 'last.ckpt'}: the checkpoint cannot be written (" in errors
    assert "The earlier checkpoint is intact" in errors
    assert (code, "Traceback" in errors) == (10, False)
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["best.ckpt", "last.ckpt"]
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] == 0
    code, errors = train("--resume", run)
    assert code == 0, errors
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 3


def own_config(folder: Path, *, task: str, data: str, num_classes: int) -> Path:
    path = folder / "own.yaml"
    path.write_text(
        f"defaults: [{task}_demo, {{override data: {data}}}, _self_]\ndata: {{num_classes: {num_classes}}}\n"
    )
    return path


def test_a_truncated_jpeg_ends_a_run_with_4_and_its_name(train: Train, tmp_path: Path) -> None:
    root = tmp_path / "data"
    class_folders(root, "hat", "shoe")
    for path in root.glob("train/*/a.jpg"):
        path.write_bytes(path.read_bytes()[:-200])
    own = own_config(tmp_path, task="cls", data="clothing", num_classes=2)
    code, errors = train("--config", own, f"data.root={root}", f"run.dir={tmp_path / 'run'}", *TINY)
    assert code == 4, errors
    assert "a.jpg: truncated JPEG" in errors
    assert "Traceback" not in errors


def test_a_mask_value_that_is_no_label_ends_a_run_with_4_and_its_name(train: Train, tmp_path: Path) -> None:
    root = tmp_path / "data"
    masks(root)
    assert cv2.imwrite(str(root / "trainannot" / "a.png"), np.full((40, 60), 77, np.uint8))
    own = own_config(tmp_path, task="seg", data="camvid", num_classes=11)
    code, errors = train("--config", own, f"data.root={root}", f"run.dir={tmp_path / 'run'}", *TINY)
    assert code == 4, errors
    assert "a.png: found value 77, accepted 0..10 for the 11 labels and 11 for void" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        ("detection", ("circle",), "the checkpoint was trained for detection, but classification is asked for"),
        ("classification", ("cat",), "the checkpoint knows 1 labels (cat), but the data has 5 labels (circle"),
    ],
)
def test_a_checkpoint_of_another_task_or_label_set_ends_with_5(
    train: Train, tmp_path: Path, task: str, labels: tuple[str, ...], words: str
) -> None:
    run = create_run(tmp_path / "run")
    run.config.write_text(resolved_yaml(load("cls_demo", [*TINY])), encoding="utf-8")
    write_checkpoint(
        {"state_dict": {"net.w": torch.zeros(1)}, IDENTITY_KEY: identity(task, labels)}, run.last_checkpoint
    )
    code, errors = train("--resume", run.dir)
    assert words in errors
    assert (code, "Traceback" in errors) == (5, False)


def test_a_second_run_into_the_same_folder_ends_with_6_and_touches_nothing(train: Train, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run")
    run.config.write_text("mine", encoding="utf-8")
    code, errors = train("--config", "cls_demo", f"run.dir={run.dir}")
    assert errors.startswith(f"error: {run.dir}: holds a run or other files already, and nothing in it is overwritten")
    assert code == 6
    assert run.config.read_text(encoding="utf-8") == "mine"
    assert not run.log.exists()
