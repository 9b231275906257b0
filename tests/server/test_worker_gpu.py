"""Workers that TorchServe spreads over GPUs use different ones."""

from __future__ import annotations

import pytest

from cvforge_server.torchserve.worker_gpu import choose_gpu


@pytest.mark.parametrize(
    ("gpu_id", "before", "after"),
    [
        (None, None, None),
        (None, "3", "3"),
        (-1, "0,1", "0,1"),
        (0, None, "0"),
        (1, None, "1"),
        ("1", "", "1"),
        (1, "2, 3", "3"),
        (0, "GPU-8f2c", "GPU-8f2c"),
    ],
)
def test_a_worker_sees_its_gpu_among_those_of_the_server(gpu_id, before, after):
    environment = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    choose_gpu(gpu_id, environment)
    assert environment.get("CUDA_VISIBLE_DEVICES") == after
