from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cvforge.data.masks import IndexMasks
from cvforge.errors import DataError

LABELS = ("road", "car")


@pytest.fixture
def pairs(tmp_path, image_writer, mask_writer):
    for name in ("a", "b"):
        image_writer(tmp_path / "images" / f"{name}.jpg")
        values = np.zeros((40, 60), np.uint8)
        values[10:20, 10:30] = 1
        values[:2] = 11
        mask_writer(tmp_path / "masks" / f"{name}.png", values)
    return tmp_path


def opened(root, **options) -> IndexMasks:
    return IndexMasks(root, "images", masks="masks", labels=LABELS, **{"void_id": 11, **options})


def test_images_and_masks_are_paired_by_name_and_void_becomes_255(pairs):
    dataset = opened(pairs)
    sample = dataset[1]
    assert sample.image_id == "images/b.jpg"
    assert sample.image_bgr.shape == (40, 60, 3)
    assert np.unique(sample.truth.class_map).tolist() == [0, 1, 255]
    assert (sample.truth.class_map == 1).sum() == 200
    assert (sample.truth.class_map == 255).sum() == 120
    assert np.array_equal(dataset.truth(1).class_map, sample.truth.class_map)


def test_palette_masks_give_their_indices_not_their_colours(pairs):
    values = np.zeros((40, 60), np.uint8)
    values[5:10] = 1
    values[0] = 255
    image = Image.fromarray(values)
    palette = image.convert("P")
    palette.putdata(values.reshape(-1).tolist())
    palette.putpalette([0, 0, 0, 128, 0, 0] + [224, 224, 192] * 254)
    palette.save(pairs / "masks" / "a.png")
    assert np.array_equal(opened(pairs, void_id=255).truth(0).class_map, values)


def test_a_split_file_chooses_the_images(pairs):
    (pairs / "train.txt").write_text("b\n")
    dataset = opened(pairs, split="train.txt")
    assert [dataset.image_id(i) for i in range(len(dataset))] == ["images/b.jpg"]


def test_images_without_mask_and_masks_without_image_are_all_reported(pairs, image_writer, mask_writer):
    image_writer(pairs / "images" / "lonely.jpg")
    mask_writer(pairs / "masks" / "orphan.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError) as caught:
        opened(pairs)
    assert "images/lonely.jpg: no mask lonely.* in masks" in str(caught.value)
    assert "masks/orphan.png: no image orphan.* in images" in str(caught.value)


def test_a_value_that_is_no_class_is_named_with_its_file(pairs, mask_writer):
    mask_writer(pairs / "masks" / "a.png", np.full((40, 60), 7, np.uint8))
    dataset = opened(pairs)
    with pytest.raises(DataError, match=r"a\.png: found value 7, accepted 0..1 for the 2 labels and 11 for void"):
        dataset[0]


def test_a_mask_of_another_size_is_named_before_anything_is_trained(pairs, mask_writer):
    mask_writer(pairs / "masks" / "b.png", np.zeros((60, 40), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: the mask is 40x60 pixels.*b\.jpg is 60x40"):
        opened(pairs)


def test_a_mask_that_changes_size_later_is_named_when_it_is_read(pairs, mask_writer):
    dataset = opened(pairs)
    mask_writer(pairs / "masks" / "b.png", np.zeros((60, 40), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: the mask is 40x60 pixels.*b\.jpg is 60x40"):
        dataset[1]


def test_a_mask_in_colours_is_refused(pairs, mask_writer):
    mask_writer(pairs / "masks" / "a.png", np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: .*channels RGB, expected one channel of class ids"):
        opened(pairs)[0]


def test_a_damaged_mask_is_named(pairs):
    path = pairs / "masks" / "a.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"a\.png"):
        opened(pairs)[0]


def test_an_empty_folder_and_a_void_that_is_a_class_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"void_id: found 1(.|\n)*holds no image"):
        opened(tmp_path, void_id=1)


def test_camvid_has_eleven_classes_and_void(shared_data):
    root = shared_data / "segmentation" / "camvid"
    labels = [f"class{number}" for number in range(11)]
    train = IndexMasks(root, "train", masks="trainannot", labels=labels, void_id=11)
    assert len(train) == 367
    values = np.unique(np.concatenate([train[i].truth.class_map.reshape(-1) for i in range(0, 40, 8)]))
    assert set(values.tolist()) <= {*range(11), 255}
    assert {0, 3, 8, 255} <= set(values.tolist())
