from __future__ import annotations

import pytest

from cvforge.data.folder import ClassFolders
from cvforge.errors import DataError


@pytest.fixture
def folders(tmp_path, image_writer):
    for name in ("train/cat/b.jpg", "train/cat/a.PNG", "train/dog/c.jpeg", "val/dog/d.jpg"):
        image_writer(tmp_path / name)
    return tmp_path


def test_the_folder_of_an_image_is_its_class(folders):
    dataset = ClassFolders(folders, "train")
    assert dataset.labels == ("cat", "dog")
    found = [(dataset.image_id(i), dataset.truth(i).class_id) for i in range(len(dataset))]
    assert found == [("train/cat/a.PNG", 0), ("train/cat/b.jpg", 0), ("train/dog/c.jpeg", 1)]
    assert dataset[2].image_bgr.shape == (40, 60, 3)
    assert dataset[2].truth.class_id == 1


def test_given_labels_decide_the_order_and_may_be_absent_from_a_split(folders):
    dataset = ClassFolders(folders, "val", labels=["dog", "cat"])
    assert dataset.labels == ("dog", "cat")
    assert dataset.truth(0).class_id == 0


def test_files_that_are_no_images_are_counted(folders):
    (folders / "train" / "cat" / "notes.txt").write_text("x")
    (folders / "train" / "cat" / ".DS_Store").write_text("x")
    assert ClassFolders(folders, "train").notes == {"files that are no images ignored": 1}


def test_a_folder_that_is_no_label_is_refused(folders):
    with pytest.raises(DataError, match="found class folder 'dog', accepted cat, cow"):
        ClassFolders(folders, "train", labels=["cat", "cow"])


def test_a_class_folder_without_images_is_refused(folders):
    (folders / "train" / "eel").mkdir()
    with pytest.raises(DataError, match="eel: holds no image"):
        ClassFolders(folders, "train")


def test_an_unknown_split_names_those_that_exist(folders):
    with pytest.raises(DataError, match="test: no such folder; folders there: train, val"):
        ClassFolders(folders, "test")


def test_a_split_without_class_folders_is_refused(folders):
    (folders / "flat").mkdir()
    with pytest.raises(DataError, match="holds no class folders"):
        ClassFolders(folders, "flat")


def test_clothing_has_its_ten_classes(shared_data):
    root = shared_data / "classification" / "clothing-mini"
    train, validation = ClassFolders(root, "train"), ClassFolders(root, "validation")
    assert (len(train), len(validation)) == (500, 138)
    assert train.labels == validation.labels
    assert train.labels[-1] == "t-shirt"
