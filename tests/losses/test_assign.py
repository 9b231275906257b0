import torch

from cvforge.losses.assign import TaskAlignedAssigner

STRIDE = 10.0
# Four cells in a row: centres at x = 5, 15, 25, 35 and y = 5.
POINTS = torch.tensor([[5.0, 5.0], [15.0, 5.0], [25.0, 5.0], [35.0, 5.0]])
STRIDES = torch.full((4, 1), STRIDE)


def assign(scores, boxes, true_boxes, true_class_ids, **parameters):
    return TaskAlignedAssigner(**parameters).assign(
        torch.tensor([scores]),
        torch.tensor([boxes]),
        points=POINTS,
        strides=STRIDES,
        true_boxes_xyxy=torch.tensor([true_boxes]),
        true_class_ids=torch.tensor([true_class_ids]),
    )


def test_only_points_inside_the_box_learn_it_and_the_best_is_asked_for_its_overlap():
    true_box = [0.0, 0.0, 20.0, 10.0]
    predicted = [[0.0, 0.0, 20.0, 10.0], [10.0, 0.0, 20.0, 10.0], true_box, true_box]
    assigned = assign([[0.5]] * 4, predicted, [true_box], [0], alpha=1.0, beta=1.0)
    assert assigned.is_positive.tolist() == [[True, True, False, False]]  # the last two match, but lie outside
    torch.testing.assert_close(assigned.target_scores, torch.tensor([[1.0, 0.5, 0.0, 0.0]]))


def test_top_k_keeps_the_best_aligned_points():
    true_box = [0.0, 0.0, 40.0, 10.0]
    predicted = [[0.0, 0.0, 40.0, 10.0], [0.0, 0.0, 30.0, 10.0], [0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 10.0, 10.0]]
    assigned = assign([[0.1], [0.9], [0.9], [0.9]], predicted, [true_box], [0], top_k=2, alpha=1.0, beta=1.0)
    # Alignment: 0.1 * 1, 0.9 * 0.75, 0.9 * 0.5, 0.9 * 0.25
    assert assigned.is_positive.tolist() == [[False, True, True, False]]
    torch.testing.assert_close(assigned.target_scores, torch.tensor([[0.0, 0.75, 0.5, 0.0]]))


def test_score_of_the_true_class_counts_and_not_of_another():
    true_box = [0.0, 0.0, 20.0, 10.0]
    assigned = assign([[0.9, 0.1], [0.1, 0.9], [0, 0], [0, 0]], [true_box] * 4, [true_box], [1], top_k=1)
    assert assigned.is_positive.tolist() == [[False, True, False, False]]


def test_a_point_that_two_boxes_want_goes_to_the_one_it_overlaps_more():
    large, small = [0.0, 0.0, 40.0, 10.0], [10.0, 0.0, 20.0, 10.0]
    predicted = [large, small, large, large]
    assigned = assign([[0.5]] * 4, predicted, [large, small], [0, 0])
    assert assigned.is_positive.tolist() == [[True] * 4]
    assert assigned.box_index.tolist() == [[0, 1, 0, 0]]


def test_a_box_smaller_than_a_cell_is_learnt_by_the_cell_around_it():
    tiny = [21.0, 1.0, 23.0, 3.0]  # holds no centre
    assigned = assign([[0.5]] * 4, [[18.0, 0.0, 26.0, 8.0]] * 4, [tiny], [0])
    assert assigned.is_positive.tolist() == [[False, False, True, False]]


def test_padding_and_empty_boxes_get_no_points():
    true_boxes = [[0.0, 0.0, 0.0, 0.0], [15.0, 5.0, 15.0, 5.0]]
    assigned = assign([[0.5]] * 4, [[0.0, 0.0, 40.0, 10.0]] * 4, true_boxes, [-1, 0])
    assert not assigned.is_positive.any()
    assert assigned.target_scores.tolist() == [[0.0] * 4]


def test_a_batch_without_any_box_assigns_nothing():
    assigned = TaskAlignedAssigner().assign(
        torch.full((2, 4, 3), 0.5),
        torch.zeros(2, 4, 4),
        points=POINTS,
        strides=STRIDES,
        true_boxes_xyxy=torch.zeros(2, 0, 4),
        true_class_ids=torch.zeros(2, 0, dtype=torch.int64),
    )
    assert assigned.is_positive.shape == (2, 4)
    assert not assigned.is_positive.any()


def test_images_of_a_batch_do_not_influence_each_other():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 4, 2, generator=generator)
    corner = torch.rand(3, 4, 2, generator=generator) * 10
    boxes = torch.cat((corner, corner + 5 + torch.rand(3, 4, 2, generator=generator) * 30), dim=2)
    true_boxes = torch.tensor([[[0.0, 0.0, 30.0, 10.0], [5.0, 0.0, 38.0, 9.0]]]).repeat(3, 1, 1)
    class_ids = torch.tensor([[0, 1], [1, -1], [-1, -1]])
    geometry = {"points": POINTS, "strides": STRIDES}
    together = TaskAlignedAssigner().assign(
        scores, boxes, **geometry, true_boxes_xyxy=true_boxes, true_class_ids=class_ids
    )
    for i in range(3):
        alone = TaskAlignedAssigner().assign(
            scores[i : i + 1],
            boxes[i : i + 1],
            **geometry,
            true_boxes_xyxy=true_boxes[i : i + 1],
            true_class_ids=class_ids[i : i + 1],
        )
        assert torch.equal(alone.target_scores[0], together.target_scores[i])
        assert torch.equal(alone.box_index[0], together.box_index[i])
