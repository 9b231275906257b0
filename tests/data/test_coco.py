from __future__ import annotations

import json

import numpy as np
import pytest

from cvforge.data.coco import CocoDetection
from cvforge.errors import DataError


def opened(coco) -> CocoDetection:
    coco.save()
    return CocoDetection(coco.root, "images", annotations="instances.json")


def problems(coco) -> str:
    with pytest.raises(DataError) as caught:
        opened(coco)
    return str(caught.value)


def test_sparse_category_ids_become_positions_in_the_order_of_the_ids(coco):
    dataset = opened(coco)
    assert dataset.labels == ("bicycle", "dog", "toothbrush")
    assert dataset.category_ids == (2, 18, 90)
    assert dataset.truth(0).class_ids.tolist() == [2, 0]


def test_boxes_crowds_and_areas_come_out_and_images_without_objects_stay(coco):
    dataset = opened(coco)
    assert [dataset.image_id(i) for i in range(2)] == ["images/b.jpg", "images/a.jpg"]
    truth = dataset[0].truth
    assert truth.boxes_xyxy.tolist() == [[10, 5, 30, 15], [0, 0, 60, 40]]
    assert truth.is_crowd.tolist() == [False, True]
    assert truth.areas.tolist() == [150.5, 2400]
    assert len(dataset[1].truth) == 0
    assert dataset[1].image_bgr.shape == (40, 60, 3)


def test_boxes_of_zero_area_or_outside_are_dropped_and_counted(coco):
    annotation = coco.document["annotations"][0]
    coco.document["annotations"] += [
        annotation | {"id": 10, "bbox": [5, 5, 0, 10]},
        annotation | {"id": 11, "bbox": [70, 5, 5, 5]},
        annotation | {"id": 12, "bbox": [50, 30, 20, 20]},
    ]
    dataset = opened(coco)
    assert dataset.truth(0).boxes_xyxy[2:].tolist() == [[50, 30, 60, 40]]
    assert sum(dataset.notes.values()) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "annotations[0] (id 1): image_id: found 99, which is no id of an image"),
        ({"category_id": 5}, "category_id: found 5, which is no category"),
        ({"category_id": "dog"}, "category_id: found 'dog'"),
        ({"bbox": [1, 2, 3]}, "bbox: found [1, 2, 3], expected four finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "expected width and height of 0 or more"),
        ({"area": -1}, "area: found -1"),
        ({"area": 10**400}, "expected a finite number of pixels"),
        ({"iscrowd": 2}, "iscrowd: found 2, accepted 0 or 1"),
        ({"id": 2}, "id: stands there more than once"),
        ({"id": None}, "id: found None, expected a whole number"),
    ],
)
def test_a_wrong_annotation_is_located(coco, change, message):
    coco.document["annotations"][0].update(change)
    assert message in problems(coco)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_know_are_located(coco, word):
    coco.save()
    path = coco.root / "instances.json"
    path.write_text(path.read_text().replace("150.5", f"\n{word}"))
    with pytest.raises(DataError, match=rf"line 2, column 1: found {word}, expected a finite number"):
        CocoDetection(coco.root, "images", annotations="instances.json")


def test_a_number_too_large_to_be_one_is_located(coco):
    coco.save()
    path = coco.root / "instances.json"
    path.write_text(path.read_text().replace("[10, 5, 20, 10]", "[10, 5, 1e999, 10]"))
    with pytest.raises(DataError, match=r"annotations\[0\] \(id 1\): bbox: found \[10, 5, inf, 10\]"):
        CocoDetection(coco.root, "images", annotations="instances.json")


def test_a_name_that_contains_nan_is_no_problem(coco):
    coco.document["categories"][0]["name"] = "NaN bread, Infinity"
    assert "NaN bread, Infinity" in opened(coco).labels


def test_missing_images_are_listed(coco):
    (coco.root / "images" / "a.jpg").unlink()
    assert "a.jpg: the annotations list this image, but there is no such file" in problems(coco)


def test_wrong_images_and_categories_are_all_reported(coco):
    coco.document["images"].append({"id": 3, "file_name": "a.jpg", "height": 40, "width": 60})
    coco.document["images"].append({"id": 8, "file_name": "c.jpg", "height": 0, "width": 60})
    coco.document["categories"].append({"id": 18, "name": "wolf"})
    coco.document["categories"].append({"id": 19, "name": "dog"})
    message = problems(coco)
    assert "images[2]: id 3 stands there more than once" in message
    assert "images[3]: found width 60 and height 0" in message
    assert "categories[3]: id 18 stands there more than once" in message
    assert "categories[4]: name 'dog' stands there more than once" in message


def test_no_images_at_all_is_refused(coco):
    coco.document["images"] = []
    assert "images: found none" in problems(coco)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        (b"\xff\xfe{}", "not JSON: 'utf-8' codec"),
        ("[]", "found list"),
        ('{"images": []}', "'annotations' is missing"),
        (None, "no such file"),
    ],
)
def test_a_file_that_is_no_coco_file_is_refused(coco, text, message):
    if text is not None:
        (coco.root / "instances.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        CocoDetection(coco.root, "images", annotations="instances.json")


def test_real_coco_has_eighty_labels_crowds_and_empty_images_as_in_pycocotools(shared_data):
    pycocotools = pytest.importorskip("pycocotools.coco")
    root = shared_data / "detection" / "coco-open"
    dataset = CocoDetection(root, "val2017", annotations="annotations/instances_val2017.json")
    reference = pycocotools.COCO()
    reference.dataset = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    reference.createIndex()
    assert len(dataset.labels) == 80
    assert (dataset.labels[0], dataset.labels[79]) == ("person", "toothbrush")
    assert dataset.category_ids == tuple(sorted(reference.getCatIds()))
    by_name = {image["file_name"]: image_id for image_id, image in reference.imgs.items()}
    for index in range(len(dataset)):
        truth = dataset.truth(index)
        expected = reference.imgToAnns[by_name[dataset.image_id(index).split("/")[-1]]]
        boxes = np.array([a["bbox"] for a in expected], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        assert np.allclose(truth.boxes_xyxy, boxes, atol=0.51)
        assert [dataset.category_ids[i] for i in truth.class_ids] == [a["category_id"] for a in expected]
        assert truth.is_crowd.tolist() == [bool(a["iscrowd"]) for a in expected]
    assert sum(int(dataset.truth(i).is_crowd.sum()) for i in range(len(dataset))) == 7
    assert sum(len(dataset.truth(i)) == 0 for i in range(len(dataset))) == 2
    for index in range(len(dataset)):
        assert dataset[index].image_bgr.ndim == 3
