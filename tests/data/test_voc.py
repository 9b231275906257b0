from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from cvforge.data.voc import VocDetection
from cvforge.errors import DataError
from cvforge_edge.errors import ImageError

LABELS = ("cat", "dog")


def test_boxes_labels_and_image_ids_come_out_as_written(voc):
    voc.add("one", ("dog", (10, 5, 30, 20)), ("cat", (1.5, 2, 9, 8)))
    voc.add("two")
    voc.split("train", "two", "one")
    dataset = VocDetection(voc.root, "train", labels=LABELS)
    assert [dataset.image_id(i) for i in range(len(dataset))] == ["JPEGImages/two.jpg", "JPEGImages/one.jpg"]
    assert len(dataset.truth(0)) == 0
    sample = dataset[1]
    assert sample.image_bgr.shape == (40, 60, 3)
    assert sample.truth.boxes_xyxy.tolist() == [[10, 5, 30, 20], [1.5, 2, 9, 8]]
    assert sample.truth.class_ids.tolist() == [1, 0]
    assert dataset.notes == {}


def test_original_pascal_boxes_count_from_one_and_include_their_last_pixel(voc):
    voc.add("one", ("cat", (1, 1, 60, 40)))
    voc.split("train", "one")
    dataset = VocDetection(voc.root, "train", labels=LABELS, first_pixel=1)
    assert dataset.truth(0).boxes_xyxy.tolist() == [[0, 0, 60, 40]]


def test_boxes_of_zero_area_or_outside_are_dropped_and_partly_outside_clipped_with_one_warning(voc, caplog):
    boxes = [(5, 5, 5, 5), (61, 5, 70, 10), (50, 30, 66, 50), (2, 2, 60.5, 40.5)]
    voc.add("one", *(("cat", box) for box in boxes))
    voc.split("train", "one")
    with caplog.at_level(logging.WARNING):
        dataset = VocDetection(voc.root, "train", labels=LABELS)
    assert dataset.truth(0).boxes_xyxy.tolist() == [[50, 30, 60, 40], [2, 2, 60, 40]]
    assert dataset.notes == {
        "boxes of zero area dropped": 1,
        "boxes wholly outside the image dropped": 1,
        "boxes partly outside the image clipped": 1,
    }
    assert len(caplog.records) == 1
    assert "one.xml, object 0" in caplog.text


def test_all_problems_are_reported_at_once(voc):
    voc.add("one", ("cow", (10, 5, 30, 20)), ("cat", (30, 5, 10, 20)), ("dog", ("nan", 5, 10, 20)))
    voc.add("two", size="<width>0</width><height>0</height>")
    voc.add("gone")
    (voc.root / "JPEGImages" / "gone.jpg").unlink()
    voc.add("bare")
    (voc.root / "Annotations" / "bare.xml").unlink()
    voc.add("broken")
    (voc.root / "Annotations" / "broken.xml").write_text("<annotation><size>")
    voc.split("train", "one", "two", "gone", "bare", "broken", "one")
    with pytest.raises(DataError) as caught:
        VocDetection(voc.root, "train", labels=LABELS)
    message = str(caught.value)
    assert "one.xml, object 0: found class 'cow', accepted cat, dog" in message
    assert "one.xml, object 1: <bndbox> found corners [30.0, 5.0, 10.0, 20.0], expected x1 <= x2" in message
    assert "one.xml, object 2: <bndbox> found [nan, 5.0, 10.0, 20.0], expected four finite numbers" in message
    assert "two.xml: <size> states no width and height" in message
    assert "JPEGImages/gone.*: the split names this image, but there is no such file" in message
    assert "bare.xml: the split names this image, but its annotation does not exist" in message
    assert "broken.xml: not XML" in message
    assert "names 'one' more than once" in message
    assert "data/README.md#voc" in message
    assert caught.value.exit_code == 4


def test_a_long_list_of_problems_is_cut_and_counted(voc):
    for number in range(20):
        voc.add(f"i{number:02}", ("cow", (1, 1, 9, 9)))
    voc.split("train", *(f"i{number:02}" for number in range(20)))
    with pytest.raises(DataError, match=r"20 problems(.|\n)*and 8 more"):
        VocDetection(voc.root, "train", labels=LABELS)


def test_an_unknown_split_names_those_that_exist(voc):
    voc.split("val", "one")
    with pytest.raises(DataError, match=r"train.txt: not found; split files there: val.txt"):
        VocDetection(voc.root, "train", labels=LABELS)


def test_an_empty_split_is_refused(voc):
    voc.split("train")
    with pytest.raises(DataError, match="names no image"):
        VocDetection(voc.root, "train", labels=LABELS)


def test_a_split_file_of_another_encoding_is_named(voc):
    (voc.root / "ImageSets" / "Main" / "train.txt").write_bytes("größe".encode("latin-1"))
    with pytest.raises(DataError, match=r"train\.txt: no UTF-8 text"):
        VocDetection(voc.root, "train", labels=LABELS)


def test_a_split_file_that_an_editor_gave_a_byte_order_mark_reads_as_usual(voc):
    voc.add("one")
    (voc.root / "ImageSets" / "Main" / "train.txt").write_bytes("\ufeffone\r\n".encode())
    assert VocDetection(voc.root, "train", labels=LABELS).image_id(0) == "JPEGImages/one.jpg"


def test_an_image_in_two_joined_splits_is_refused(voc):
    voc.add("one")
    voc.split("train", "one")
    voc.split("val", "one")
    with pytest.raises(DataError, match="'one' stands more than once in train, val"):
        VocDetection(voc.root, ["train", "val"], labels=LABELS)


@pytest.mark.parametrize("root", [None, "", "/nowhere/voc"])
def test_a_missing_root_says_how_to_get_the_data(root):
    with pytest.raises(DataError, match=r"data.root(.|\n)*data/README.md#voc"):
        VocDetection(root, "train", labels=LABELS)


def test_a_truncated_image_is_named_when_it_is_read(voc):
    voc.add("one")
    voc.split("train", "one")
    path = voc.root / "JPEGImages" / "one.jpg"
    path.write_bytes(path.read_bytes()[:300])
    dataset = VocDetection(voc.root, "train", labels=LABELS)
    with pytest.raises(ImageError, match=r"one\.jpg"):
        dataset[0]


def test_an_image_of_another_size_than_its_annotation_is_named(voc, image_writer):
    voc.add("one")
    voc.split("train", "one")
    image_writer(voc.root / "JPEGImages" / "one.jpg", size_hw=(30, 50))
    with pytest.raises(DataError, match=r"one\.jpg: the image is 50x30 pixels.*says 60x40"):
        VocDetection(voc.root, "train", labels=LABELS)[0]


def test_boxes_drawn_before_an_exif_rotation_get_the_image_that_they_were_drawn_on(voc):
    voc.add("one")
    voc.split("train", "one")
    path = voc.root / "JPEGImages" / "one.jpg"
    stored = path.read_bytes()
    turned_right = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    path.write_bytes(stored[:2] + turned_right + stored[2:])
    assert cv2.imread(str(path)).shape == (60, 40, 3)  # the tag is understood
    image = VocDetection(voc.root, "train", labels=LABELS)[0].image_bgr
    assert np.array_equal(image, cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR))


def test_bccd_has_its_known_boxes_and_loses_its_two_zero_area_boxes(shared_data):
    root = shared_data / "detection" / "bccd" / "BCCD"
    labels = ("WBC", "RBC", "Platelets")
    everything = VocDetection(root, ["train", "val", "test"], labels=labels)
    class_ids = np.concatenate([everything.truth(i).class_ids for i in range(len(everything))])
    assert len(everything) == 364
    assert np.bincount(class_ids).tolist() == [372, 4153, 361]
    assert everything.notes == {"boxes of zero area dropped": 2}
    assert everything[0].image_bgr.shape == (480, 640, 3)
