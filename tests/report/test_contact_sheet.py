"""The sheet of pictures that a run ends with: truth on the left, the model's answer on the right."""

from __future__ import annotations

import numpy as np

from cvforge.data.types import Sample
from cvforge.report.contact_sheet import draw_contact_sheet
from cvforge_edge.contact_sheet import CELL_HW, contact_sheet
from cvforge_edge.draw import draw_detections
from cvforge_edge.types import ClassLabel, ClassScores, Detections

LABELS = ("cat", "dog")
SMALL_HW = (32, 32)
COVERED_AT_MOST = 0.25  # of a small picture by the panel of classes


def picture(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def cells(sheet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two halves of a sheet with one sample."""
    middle = sheet.shape[1] // 2
    return sheet[:, :middle], sheet[:, middle:]


def test_the_panel_of_classes_leaves_a_small_picture_visible() -> None:
    sample = Sample(picture(*SMALL_HW), ClassLabel(0), "a.png")
    sheet = draw_contact_sheet([sample], lambda image: ClassScores(np.array([0.2, 0.8], np.float32)), labels=LABELS)
    truth, model = cells(sheet[: CELL_HW[0]])
    shown = int((truth == 90).all(axis=2).sum())
    assert shown > 0.9 * CELL_HW[0] ** 2
    assert (model == 90).all(axis=2).sum() > (1 - COVERED_AT_MOST) * shown


def test_a_wrong_class_is_called_wrong_under_its_picture() -> None:
    sample = Sample(picture(*SMALL_HW), ClassLabel(0), "a.png")
    sheets = [
        draw_contact_sheet([sample], lambda image, p=p: ClassScores(np.array(p, np.float32)), labels=LABELS)
        for p in ([0.8, 0.2], [0.2, 0.8])
    ]
    captions = [cells(sheet[CELL_HW[0] + 8 :])[1] for sheet in sheets]
    right, wrong = (np.flatnonzero((caption < 128).any(axis=(0, 2))).max() for caption in captions)
    assert wrong > right + 20  # pixels of more text


def test_boxes_of_the_truth_say_no_score() -> None:
    boxes = np.array([[20, 40, 200, 200]], np.float32)
    truth = Detections(boxes, np.ones(1, np.float32), np.array([1], np.int64))
    image = picture(*CELL_HW)
    sheet = draw_contact_sheet([Sample(image, truth, "a.png")], lambda image: truth, labels=LABELS)
    pictures = [draw_detections(image, truth, labels=LABELS, scores=scores) for scores in (False, True)]
    assert not np.array_equal(*pictures)
    captions = ["truth: 1 object  (a.png)", "model: 1 object"]
    np.testing.assert_array_equal(sheet, contact_sheet(pictures, columns=4, captions=captions))
