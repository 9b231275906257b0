import math

import pytest
import torch

from cvforge.errors import ConfigError
from cvforge.losses.classification import CrossEntropy

LOGITS = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])  # probabilities 1/4 3/4 and 1/2 1/2


def test_class_ids_and_their_one_hot_rows_cost_the_same():
    expected = torch.tensor((math.log(4 / 3) + math.log(2)) / 2)
    torch.testing.assert_close(CrossEntropy()(LOGITS, torch.tensor([1, 0]))["class"], expected)
    torch.testing.assert_close(CrossEntropy()(LOGITS, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))["class"], expected)


def test_mixed_targets_are_weighted():
    mixed = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    expected = torch.tensor((0.25 * math.log(4) + 0.75 * math.log(4 / 3) + math.log(2)) / 2)
    torch.testing.assert_close(CrossEntropy()(LOGITS, mixed)["class"], expected)


def test_label_smoothing_spreads_its_share_over_all_classes():
    smooth = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    torch.testing.assert_close(
        CrossEntropy(label_smoothing=0.2)(LOGITS, torch.tensor([1, 0]))["class"],
        CrossEntropy()(LOGITS, smooth)["class"],
    )


def test_label_smoothing_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="label_smoothing: found 1.5, expected 0..1"):
        CrossEntropy(label_smoothing=1.5)
