"""Hard frames become data sets that the project's own loaders and COCO's own tools read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from conftest import load_tool
from cvforge.data.coco import CocoDetection
from cvforge.data.folder import ClassFolders
from cvforge.data.masks import IndexMasks
from cvforge.errors import CVForgeError
from edge.evidence_frames import boxes, bundle_of, noise, open_keeper, pixels, probs, reason, seen


@pytest.fixture
def detections(tmp_path):
    keeper = open_keeper(tmp_path / "e", picture_format="png")
    for index in range(3):
        found = boxes((1, 2, 11, 22, 0.9, 1), (5, 5, 9, 9, 0.4, 0))
        keeper.offer(seen(found, image=noise(index), index=index), (reason("flicker" if index else "unsure"),))
    return tmp_path / "e"


def run(*arguments: object) -> int:
    return load_tool("evidence").main([str(argument) for argument in arguments])


def test_detections_become_coco_annotations_to_correct(detections, tmp_path, capsys):
    assert run(detections, "--output", tmp_path / "hard") == 0
    assert "3 frames for detection" in capsys.readouterr().out
    coco = COCO(str(tmp_path / "hard" / "annotations.json"))
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == ["red", "blue"]
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [(one["bbox"], one["category_id"], one["score"]) for one in first] == [
        ([1.0, 2.0, 10.0, 20.0], 2, 0.9),
        ([5.0, 5.0, 4.0, 4.0], 1, 0.4),
    ]
    dataset = CocoDetection(tmp_path / "hard", "images", annotations="annotations.json")
    assert (len(dataset), dataset.labels) == (3, ("red", "blue"))
    np.testing.assert_array_equal(dataset[0].image_bgr, noise(0))
    assert dataset[0].truth.boxes_xyxy.tolist() == [[1, 2, 11, 22], [5, 5, 9, 9]]


def test_only_the_wanted_reasons(detections, tmp_path):
    assert run(detections, "--output", tmp_path / "hard", "--kind", "flicker,jump") == 0
    assert len(list((tmp_path / "hard" / "images").iterdir())) == 2


def test_classes_become_folders(tmp_path):
    keeper = open_keeper(tmp_path / "e", bundle=bundle_of("classifier"))
    for index, answer in enumerate([(0.5, 0.4, 0.1), (0.3, 0.4, 0.3), (0.2, 0.5, 0.3)]):
        keeper.offer(seen(probs(*answer), image=noise(index), index=index, model="classifier"), (reason(),))
    assert run(tmp_path / "e", "--output", tmp_path / "sets" / "train") == 0
    dataset = ClassFolders(tmp_path / "sets", "train", labels=("red", "blue", "neither"))
    assert sorted(dataset[index].truth.class_id for index in range(len(dataset))) == [0, 1, 1]


def test_class_maps_become_masks(tmp_path):
    keeper = open_keeper(tmp_path / "e", bundle=bundle_of("segmenter"))
    class_map = np.tile(np.arange(64) % 3, (48, 1)).astype(np.uint8)
    keeper.offer(seen(pixels(class_map), image=noise(0), model="segmenter"), (reason(),))
    assert run(tmp_path / "e", "--output", tmp_path / "hard") == 0
    dataset = IndexMasks(tmp_path / "hard", "images", masks="masks", labels=("background", "red", "blue"))
    np.testing.assert_array_equal(dataset[0].truth.class_map, class_map)


def test_frames_without_pictures_or_of_other_labels_are_left_out_and_counted(detections, tmp_path, capsys):
    blind = open_keeper(tmp_path / "f", pictures="none", bundle=bundle_of(labels=("red", "blue")))
    blind.offer(seen(boxes((1, 2, 11, 22, 0.9, 1)), index=8), (reason("jump"),))
    other = open_keeper(tmp_path / "g", bundle=bundle_of(labels=("cat", "dog")))
    other.offer(seen(boxes((1, 2, 11, 22, 0.9, 1)), index=9), (reason("jump"),))
    for folder, stored_unix_s in (("f", 0.5), ("g", 0.5)):
        for path in (tmp_path / folder / "frames").iterdir():
            (detections / "frames" / path.name).write_bytes(path.read_bytes())
            if path.suffix == ".json":
                record = {**json.loads(path.read_text()), "stored_unix_s": stored_unix_s}
                (detections / "frames" / path.name).write_text(json.dumps(record))
    assert run(detections, "--output", tmp_path / "hard") == 0
    out = capsys.readouterr().out
    assert "3 frames for detection" in out
    assert "left out, without a picture: 1" in out
    assert "left out, of models with other labels: 1" in out


@pytest.mark.parametrize(
    ("prepare", "code", "words"),
    [
        (lambda e, out: out.mkdir(), 6, "is there already"),
        (lambda e, out: [path.unlink() for path in (e / "frames").iterdir()], 4, "holds no hard frames"),
        (lambda e, out: next((e / "frames").glob("*.json")).write_text("{}"), 4, "no record of a hard frame"),
        (lambda e, out: out.parent.write_text("a file"), 10, "cannot be written"),
    ],
)
def test_what_cannot_work_ends_with_a_message_and_its_code(detections, tmp_path, prepare, code, words):
    output = tmp_path / "sub" / "hard" if code == 10 else tmp_path / "hard"
    prepare(detections, output)
    with pytest.raises(CVForgeError, match=words) as caught:
        run(detections, "--output", output)
    assert caught.value.exit_code == code
    assert not any(path.name.startswith(".hard") for path in tmp_path.iterdir())


def test_a_record_cannot_make_the_tool_copy_files_from_elsewhere(detections, tmp_path):
    (tmp_path / "secret.png").write_text("secret")
    record = next((detections / "frames").glob("*.json"))
    value = json.loads(record.read_text())
    value["picture"]["file"] = "../../secret.png"
    record.write_text(json.dumps(value))
    with pytest.raises(CVForgeError, match=r"frames/secret.png"):
        run(detections, "--output", tmp_path / "hard")


def test_an_unknown_reason_is_refused(detections, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        run(detections, "--output", tmp_path / "hard", "--kind", "ugly")
    assert caught.value.code == 2
    assert "accepted unsure, nothing_sure, flicker, jump, outlier" in capsys.readouterr().err
