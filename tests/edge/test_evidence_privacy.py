"""What a picture may show is gone from its pixels, not only covered, and without pictures none is there."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.evidence.privacy import MARGIN, blurred, labels_to_blur, mosaic
from cvforge_edge.geometry import Geometry
from cvforge_edge.image_io import read_image
from edge.evidence_frames import boxes, bundle_of, open_keeper, pixels, probs, reason, seen

SIZE_HW = (120, 160)
PERSON_BOX = (40.0, 20.0, 80.0, 100.0)
INSIDE = (slice(24, 96), slice(44, 76))


def stripes() -> np.ndarray:
    """Lines of one pixel, black and white: nothing of them survives averaging."""
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    image[:, ::2] = 255
    return image


def people(prediction=None, *, scores=None):
    """A frame of a model of people and cars: a sure person, and candidates as `scores` (n, 2) says."""
    prediction = boxes((*PERSON_BOX, 0.9, 0)) if prediction is None else prediction
    scores = np.array([[0.9, 0.0]], np.float32) if scores is None else scores
    places = np.tile(np.array([PERSON_BOX], np.float32), (len(scores), 1))
    places += np.arange(len(scores), dtype=np.float32)[:, None] * np.array([60, 0, 60, 0], np.float32)
    frame = seen(prediction, image=stripes(), outputs={"boxes": places, "scores": scores})
    geometry = Geometry(SIZE_HW, SIZE_HW, (1.0, 1.0), (0.0, 0.0))
    return replace(frame, glance=replace(frame.glance, geometry=geometry))


def contrast(image: np.ndarray, where=(slice(None), slice(None))) -> float:
    return float(np.abs(np.diff(image[where][..., 0].astype(int), axis=1)).mean())


def stored_picture(folder):
    [record] = (folder / "frames").glob("*.json")
    value = json.loads(record.read_text())
    return value, read_image(record.parent / value["picture"]["file"])


def test_original_keeps_every_pixel_and_draws_nothing(tmp_path):
    keeper = open_keeper(tmp_path / "e", picture_format="png", bundle=bundle_of(labels=("person", "car")))
    keeper.offer(people(), (reason(),))
    value, picture = stored_picture(tmp_path / "e")
    assert value["picture"]["kind"] == "original"
    np.testing.assert_array_equal(picture, stripes())


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_blurred_hides_people_and_leaves_the_rest(tmp_path, form):
    keeper = open_keeper(
        tmp_path / "e", pictures="blurred", picture_format=form, bundle=bundle_of(labels=("person", "car"))
    )
    keeper.offer(people(), (reason(),))
    value, picture = stored_picture(tmp_path / "e")
    assert value["picture"]["kind"] == "blurred"
    assert contrast(picture, INSIDE) < 3
    left_of_it = int(PERSON_BOX[0] - MARGIN * 40) - 1
    assert contrast(picture, (slice(None), slice(0, left_of_it))) > 200
    assert contrast(stripes(), INSIDE) == 255


def test_a_person_that_the_network_nearly_missed_is_blurred_too():
    scores = np.array([[0.9, 0.0], [0.06, 0.0], [0.01, 0.0]], np.float32)
    picture = blurred(people(scores=scores).glance, frozenset({0}))
    assert contrast(picture, (slice(24, 96), slice(104, 136))) < 3
    assert contrast(picture, (slice(None), slice(147, 160))) > 200


def test_named_classes_are_blurred_in_place_of_people():
    scores = np.array([[0.9, 0.0], [0.0, 0.9]], np.float32)
    frame = people(boxes((*PERSON_BOX, 0.9, 0), (100, 20, 140, 100, 0.9, 1)), scores=scores)
    picture = blurred(frame.glance, labels_to_blur(("person", "car"), ("car",)))
    assert contrast(picture, INSIDE) > 200
    assert contrast(picture, (slice(24, 96), slice(104, 136))) < 3


@pytest.mark.parametrize(
    ("labels", "ids"),
    [
        (("person", "car"), {0}),
        (("Car", "Pedestrian", "License_Plate", "number plate"), {1, 2, 3}),
        (("RBC", "WBC"), set()),
        (("personnel carrier", "headlight"), set()),
    ],
)
def test_people_are_known_by_the_names_of_classes(labels, ids):
    assert labels_to_blur(labels, ()) == ids


def test_a_model_without_such_a_class_gets_the_whole_picture_blurred(tmp_path):
    keeper = open_keeper(tmp_path / "e", pictures="blurred", bundle=bundle_of(labels=("RBC", "WBC")))
    keeper.offer(people(), (reason(),))
    _, picture = stored_picture(tmp_path / "e")
    assert contrast(picture) < 3


def test_a_classifier_has_no_boxes_so_all_of_the_picture_is_blurred():
    frame = seen(probs(0.6, 0.4, 0.0), image=stripes(), model="classifier")
    assert contrast(blurred(frame.glance, frozenset({0}))) < 3


def test_the_pixels_of_people_in_a_segmentation_are_blurred():
    class_map = np.zeros(SIZE_HW, np.uint8)
    class_map[:, 80:] = 1
    frame = seen(pixels(class_map), image=stripes(), model="segmenter")
    picture = blurred(frame.glance, frozenset({1}))
    assert contrast(picture, (slice(None), slice(80, 160))) < 3
    assert contrast(picture, (slice(None), slice(0, 75))) > 200


def test_without_pictures_there_is_json_alone_and_no_trace_of_the_pixels(tmp_path):
    keeper = open_keeper(tmp_path / "e", pictures="none", bundle=bundle_of(labels=("person", "car")))
    keeper.offer(people(), (reason(box=PERSON_BOX),))
    [record] = (tmp_path / "e" / "frames").iterdir()
    first = json.loads(record.read_text())
    assert first["picture"] == {"file": None, "kind": "none"}
    assert [row["label"] for row in first["detections"]] == ["person"]
    assert set(first["likeness"]["thumbnail"].rstrip("=")) == {"A"}  # zeros in base64


def test_a_segmentation_brings_its_class_map_only_with_pictures(tmp_path):
    for pictures, names in (("original", [".classes.png", ".jpg", ".json"]), ("none", [".json"])):
        keeper = open_keeper(tmp_path / pictures, pictures=pictures, bundle=bundle_of("segmenter"))
        keeper.offer(seen(pixels(np.eye(48, 64)), model="segmenter"), (reason(),))
        assert sorted(p.name[p.name.index(".") :] for p in (tmp_path / pictures / "frames").iterdir()) == names


def test_a_mosaic_cannot_be_undone():
    flat = mosaic(stripes(), cells=5)
    assert flat.shape == stripes().shape
    assert len(np.unique(flat)) <= 30  # five cells and what lies between them, of 0 and 255 in turns


def test_a_class_that_the_model_does_not_know_is_refused():
    with pytest.raises(UsageError, match="found persn, the model knows person, car") as caught:
        labels_to_blur(("person", "car"), ("persn",))
    assert caught.value.exit_code == 2
