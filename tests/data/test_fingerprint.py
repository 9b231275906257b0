from __future__ import annotations

import shutil

import pytest

from cvforge.data import fingerprint
from cvforge.data.voc import VocDetection


def opened(voc):
    return VocDetection(voc.root, "train", labels=("cat", "dog"))


@pytest.fixture
def pair(voc):
    voc.add("one", ("dog", (10, 5, 30, 20)), ("cat", (1, 2, 9, 8)))
    voc.add("two", ("cat", (1, 2, 9, 8)))
    voc.split("train", "one", "two")
    return voc


def test_the_order_of_images_and_objects_and_the_place_on_disk_do_not_count(pair, tmp_path_factory):
    before = opened(pair).fingerprint()
    pair.add("one", ("cat", (1, 2, 9, 8)), ("dog", (10, 5, 30, 20)))
    pair.split("train", "two", "one")
    assert opened(pair).fingerprint() == before
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(pair.root, elsewhere)
    assert VocDetection(elsewhere, "train", labels=("cat", "dog")).fingerprint() == before
    assert before.startswith("v1-contents:")
    assert len(before.split(":")[1]) == 64


def test_every_change_of_the_data_changes_it(pair):
    seen = {opened(pair).fingerprint(), VocDetection(pair.root, "train", labels=("dog", "cat")).fingerprint()}
    pair.add("one", ("dog", (10, 5, 30, 21)), ("cat", (1, 2, 9, 8)))
    seen.add(opened(pair).fingerprint())
    pair.add("one", ("cat", (10, 5, 30, 21)), ("cat", (1, 2, 9, 8)))
    seen.add(opened(pair).fingerprint())
    image = pair.root / "JPEGImages" / "two.jpg"
    data = bytearray(image.read_bytes())
    data[-5] ^= 1
    image.write_bytes(bytes(data))
    seen.add(opened(pair).fingerprint())
    pair.split("train", "one")
    seen.add(opened(pair).fingerprint())
    assert len(seen) == 6


def test_large_sets_are_named_by_annotations_and_file_sizes(pair, monkeypatch):
    monkeypatch.setattr(fingerprint, "CONTENT_LIMIT_BYTES", 10)
    before = opened(pair).fingerprint()
    assert before.startswith("v1-annotations-sizes:")
    image = pair.root / "JPEGImages" / "two.jpg"
    data = bytearray(image.read_bytes())
    data[-5] ^= 1
    image.write_bytes(bytes(data))
    assert opened(pair).fingerprint() == before
    image.write_bytes(bytes(data) + b"\0")
    assert opened(pair).fingerprint() != before
