"""Budgets, tensor parity and golden tolerances, with numbers small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvforge.errors import ExportBudgetError
from cvforge.export.agreement.classes import ClassAgreement, ClassCounter
from cvforge.export.parity import output_noise, relative_errors
from cvforge.export.verify import Reference, Verdict, class_losses, require_budget
from cvforge.latency import median_latency_ms
from cvforge_edge.manifest import ModelFile
from cvforge_edge.types import ClassScores

BUDGET = {"fp32": 0.01, "fp16": 0.02, "int8": 0.05}
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.2}
PEAK = {"fp32": 5e-3, "fp16": 0.1, "int8": 0.4}


def verdict(
    metrics: dict[str, float], *, precision: str = "fp32", error: float = 0.0, noise: float = 0.0, **changes: object
) -> Verdict:
    model = ModelFile(f"model_{precision}.onnx", "onnx", precision, "0" * 64, 1)
    return Verdict(model, {"scores": error}, metrics, noise={"scores": noise}, **changes)  # type: ignore[arg-type]


def check(*verdicts: Verdict, expected: dict[str, float], primary: str = "map") -> None:
    reference = Reference([], [], expected, primary, 1.0)
    require_budget(verdicts, reference, metric_budget=BUDGET, tensor_tolerance=TOLERANCE, tensor_peak=PEAK)


def test_a_loss_of_exactly_the_budget_is_accepted_and_a_gain_always() -> None:
    check(verdict({"map": 0.79}), verdict({"map": 0.95}, precision="fp16"), expected={"map": 0.80})


def test_a_loss_beyond_the_budget_says_by_how_much_and_where() -> None:
    expected = {"map": 0.80, "ap/car": 0.9, "ap/dog": 0.8, "ap/cat": 0.7}
    with pytest.raises(ExportBudgetError) as caught:
        check(verdict({"map": 0.75, "ap/car": 0.89, "ap/dog": 0.7, "ap/cat": 0.71}), expected=expected)
    assert str(caught.value).splitlines()[:4] == [
        "export over budget; no bundle was written",
        "model_fp32.onnx:",
        "  map 0.7500, the checkpoint has 0.8000: 0.0500 lost, budget 0.01 (export.metric_budget), over by 0.0400",
        "  classes that lost most: dog -0.1000, car -0.0100",
    ]


def test_all_files_over_budget_are_named_at_once() -> None:
    with pytest.raises(ExportBudgetError) as caught:
        check(verdict({"map": 0.1}, precision="fp16"), verdict({"map": 0.1}), expected={"map": 0.8})
    message = str(caught.value)
    assert "model_fp32.onnx:" in message
    assert "model_fp16.onnx:" in message
    assert message.count("The conversion itself is wrong") == 2
    assert "half precision" not in message


def test_half_precision_is_blamed_only_where_the_single_precision_file_is_right() -> None:
    with pytest.raises(ExportBudgetError) as caught:
        check(verdict({"map": 0.8}), verdict({"map": 0.1}, precision="fp16"), expected={"map": 0.8})
    message = str(caught.value)
    assert "model_fp32.onnx" not in message
    assert "accept the loss with export.metric_budget.fp16=VALUE" in message


def agreement(expected: float, found: float) -> ClassAgreement:
    """Of one picture of two classes, whose first has these probabilities in the checkpoint and in the file."""
    counter = ClassCounter(("skirt", "shorts"))
    counter.add(*(ClassScores(np.array([p, 1 - p], np.float32)) for p in (expected, found)))
    return counter.agreement()


def test_half_precision_is_not_blamed_where_undecided_pictures_turned() -> None:
    expected = {"top1": 1.0, "recall/skirt": 1.0, "recall/shorts": 0.5}
    metrics = {"top1": 0.9, "recall/skirt": 0.75, "recall/shorts": 0.5}
    for probability, blamed in ((0.52, False), (0.9, True)):
        changed = verdict(metrics, precision="fp16", agreement=agreement(probability, 0.4))
        with pytest.raises(ExportBudgetError) as caught:
            check(changed, expected=expected, primary="top1")
        message = str(caught.value)
        assert "classes that lost most: skirt -0.2500" in message
        assert "accept the loss with export.metric_budget.fp16=VALUE" in message
        assert ("most changed images were nearly undecided" not in message) == blamed
        assert ("weight decay" in message) == ("do not survive half precision" in message) == blamed


def refusal(*verdicts: Verdict) -> str:
    with pytest.raises(ExportBudgetError) as caught:
        check(*verdicts, expected={"map": 0.8})
    return str(caught.value)


def test_a_file_of_the_right_score_but_noisy_outputs_is_over_budget() -> None:
    message = refusal(verdict({"map": 0.8}, noise=0.005))
    assert (
        "  output 'scores' is off by 0.005 of its spread from the checkpoint (root mean square), tolerance 0.001 "
        "(export.tensor_tolerance)"
    ) in message
    check(verdict({"map": 0.8}, noise=0.005, precision="fp16"), expected={"map": 0.8})


def test_one_value_may_be_further_off_than_the_rest_but_not_anywhere() -> None:
    check(verdict({"map": 0.8}, error=0.05, precision="fp16"), expected={"map": 0.8})
    message = refusal(verdict({"map": 0.8}, error=0.15, precision="fp16"))
    assert "output 'scores' differs by 0.15 of its range from the checkpoint in one value, accepted 0.1" in message
    assert "(export.tensor_peak)" in message


def test_advice_fits_the_kind_of_problem() -> None:
    tensors, score, both = (
        refusal(verdict({"map": 0.8}), verdict({"map": value}, noise=noise, precision="fp16"))
        for value, noise in ((0.8, 0.5), (0.1, 0.0), (0.1, 0.5))
    )
    assert "accept this with the key above, .fp16=VALUE" in tensors
    assert "metric_budget" not in tensors
    assert "export.metric_budget.fp16=VALUE" in score
    assert "tensor" not in score
    assert "a metric budget does not help here" in both
    int8 = refusal(verdict({"map": 0.8}), verdict({"map": 0.8}, noise=0.5, precision="int8"))
    assert "measure the ranges on more images (export.calibration_images), or export fp16" in int8
    assert "The conversion itself is wrong" in refusal(verdict({"map": 0.8}, noise=0.5))


def test_a_file_that_cannot_be_scored_is_over_budget() -> None:
    with pytest.raises(ExportBudgetError, match="it cannot be scored: scores hold NaN"):
        check(verdict({}, failure="scores hold NaN"), expected={"map": 0.8})


def test_class_losses_are_sorted_and_leave_gains_out() -> None:
    assert class_losses(
        {"map": 0.5, "ap/a": 0.5, "ap/b": 0.5, "ap/c": 0.5}, {"ap/a": 0.375, "ap/b": 0.25, "ap/c": 1}
    ) == [
        ("b", 0.25),
        ("a", 0.125),
    ]


def test_a_class_that_vanished_lost_everything() -> None:
    assert class_losses({"ap/a": 0.5}, {}) == [("a", 0.5)]


def test_errors_are_fractions_of_the_range_over_all_images() -> None:
    reference = [{"x": np.array([0.0, 2.0], np.float32)}, {"x": np.array([8.0, 4.0], np.float32)}]
    candidate = [{"x": np.array([0.0, 2.5], np.float32)}, {"x": np.array([7.0, 4.0], np.float32)}]
    assert relative_errors(reference, candidate) == {"x": 0.125}


def test_an_output_that_hardly_moves_is_held_to_an_absolute_error() -> None:
    reference = [{"x": np.full(3, 0.5, np.float32)}]
    candidate = [{"x": np.full(3, 0.5 + 2**-10, np.float32)}]
    assert relative_errors(reference, candidate)["x"] == pytest.approx(2**-10 / 1e-2)


def test_noise_is_the_root_mean_square_error_over_the_spread_of_all_images() -> None:
    reference = [{"x": np.array([0.0, 4.0], np.float32)}, {"x": np.array([4.0, 0.0], np.float32)}]  # spread 2
    candidate = [{"x": np.array([0.0, 4.0], np.float32)}, {"x": np.array([4.0, 1.0], np.float32)}]
    assert output_noise(reference, candidate) == {"x": pytest.approx(np.sqrt(1 / 4) / 2)}
    still = [{"x": np.full(3, 0.5, np.float32)}]
    assert output_noise(still, [{"x": still[0]["x"] + np.float32(2**-12)}])["x"] == pytest.approx(2**-12 / 2.5e-3)


def boxes(*rows: tuple[float, float, float, float, float]) -> list[dict[str, np.ndarray]]:
    """One image; a row is a box and its score of one class, beside a class of score 0."""
    array = np.array(rows, np.float32)
    return [{"boxes": array[:, :4], "scores": np.stack([0 * array[:, 4], array[:, 4]], axis=1)}]


def test_an_error_of_a_box_counts_as_much_as_its_score_and_against_its_own_sides() -> None:
    expected = boxes((0, 0, 100, 20, 0.5), (0, 0, 200, 200, 0.0))
    assert output_noise(expected, boxes((10, 2, 110, 22, 0.5), (99, 99, 200, 200, 0.0)))["boxes"] == pytest.approx(1)
    assert relative_errors(expected, boxes((10, 0, 100, 20, 0.5), (99, 0, 200, 200, 0)))["boxes"] == 0.025
    one_of_two = boxes((10, 2, 110, 22, 0.5), (0, 0, 200, 200, 0.5))
    assert output_noise(boxes((0, 0, 100, 20, 0.5), (0, 0, 200, 200, 0.5)), one_of_two)["boxes"] == pytest.approx(
        0.5**0.5
    )


def test_a_box_that_only_the_file_scores_counts_too() -> None:
    expected, found = boxes((0, 0, 80, 80, 0.0)), boxes((8, 8, 88, 88, 0.9))
    assert output_noise(expected, found)["boxes"] == pytest.approx(1)


def test_boxes_of_no_score_and_of_no_size_are_measured_without_dividing_by_zero() -> None:
    assert output_noise(boxes((0, 0, 0, 0, 0.0)), boxes((4, 0, 0, 0, 0.0)))["boxes"] == 0
    assert output_noise(boxes((0, 0, 0, 0, 1.0)), boxes((0.8, 0.8, 0.8, 0.8, 1.0)))["boxes"] == pytest.approx(1)


def test_scores_that_are_not_numbers_make_boxes_infinitely_wrong() -> None:
    found = boxes((0, 0, 8, 8, float("nan")))
    expected = dict.fromkeys(("boxes", "scores"), float("inf"))
    assert output_noise(boxes((0, 0, 8, 8, 0.5)), found) == relative_errors(boxes((0, 0, 8, 8, 0.5)), found) == expected


@pytest.mark.parametrize("found", [np.array([0.0, np.nan], np.float32), np.zeros(3, np.float32)])
def test_nan_and_other_shapes_are_infinitely_wrong(found: np.ndarray) -> None:
    expected = [{"x": np.array([0.0, 1.0], np.float32)}]
    assert relative_errors(expected, [{"x": found}]) == output_noise(expected, [{"x": found}]) == {"x": float("inf")}


def test_latency_of_a_checkpoint_is_the_median_of_warm_runs_with_one_thread() -> None:
    class Counting:
        runs = 0
        threads = 0

        def run(self, image_u8: np.ndarray) -> dict[str, np.ndarray]:
            assert image_u8.shape == (1, 4, 4, 3)
            self.runs += 1
            self.threads = torch.get_num_threads()
            return {}

    backend, before = Counting(), torch.get_num_threads()
    torch.set_num_threads(2)
    assert 0 <= median_latency_ms(backend, np.zeros((1, 4, 4, 3), np.uint8)) < 1000
    assert (backend.runs, backend.threads, torch.get_num_threads()) == (53, 1, 2)
    torch.set_num_threads(before)
