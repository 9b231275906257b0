"""Inputs go through the network together, and one that breaks it is left alone with its problem."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from cvforge_edge.errors import BackendError, InferenceError
from cvforge_edge.predictor import Predictor
from cvforge_server.errors import Code, RequestError
from cvforge_server.forward import forward
from server.bundles import build_batch_bundle

BAD = 13


@dataclass
class Network:
    """Answers each input with its first value, and fails at any batch that holds a `BAD` one."""

    error: Exception = field(default_factory=lambda: InferenceError("/srv/model.onnx: out of memory"))
    sizes: list[int] = field(default_factory=list)

    def raw_outputs_of(self, inputs_u8: np.ndarray) -> list[dict[str, np.ndarray]]:
        """One output for each input."""
        assert inputs_u8.dtype == np.uint8
        assert inputs_u8.shape[1:] == (2, 3, 3)
        self.sizes.append(len(inputs_u8))
        values = inputs_u8[:, 0, 0, 0]
        if BAD in values:
            raise self.error
        return [{"probs": np.float32([value])} for value in values]


def inputs(*values: int) -> list[np.ndarray]:
    return [np.full((2, 3, 3), value, np.uint8) for value in values]


def run(network: Network, *values: int, batch_size: int) -> list[object]:
    """The value of each output, or the code of the problem in its place."""
    found = forward(cast(Predictor, network), inputs(*values), batch_size=batch_size)
    return [one.code if isinstance(one, RequestError) else int(one["probs"][0]) for one in found]


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(0, 4, []), (1, 4, [1]), (4, 4, [4]), (5, 4, [4, 1]), (9, 4, [4, 4, 1]), (3, 1, [1, 1, 1]), (3, 100, [3])],
)
def test_inputs_go_through_in_as_few_calls_as_can_be(count: int, batch_size: int, sizes: list[int]) -> None:
    network = Network()
    assert run(network, *range(100, 100 + count), batch_size=batch_size) == list(range(100, 100 + count))
    assert network.sizes == sizes


@pytest.mark.parametrize("place", range(4))
def test_one_bad_input_of_a_batch_fails_alone(place: int) -> None:
    network = Network()
    values = [1, 2, 3]
    values.insert(place, BAD)
    expected: list[object] = [1, 2, 3]
    expected.insert(place, Code.INFERENCE_FAILED)
    assert run(network, *values, batch_size=4) == expected
    assert network.sizes == [4, 1, 1, 1, 1]


def test_a_bad_input_costs_its_own_chunk_a_second_run_and_no_other() -> None:
    network = Network()
    assert run(network, 1, 2, 3, BAD, 5, 6, batch_size=2) == [1, 2, 3, Code.INFERENCE_FAILED, 5, 6]
    assert network.sizes == [2, 2, 1, 1, 2]


def test_where_all_are_bad_all_have_their_problem() -> None:
    network = Network()
    assert run(network, BAD, BAD, batch_size=2) == [Code.INFERENCE_FAILED] * 2
    assert run(network, BAD, batch_size=1) == [Code.INFERENCE_FAILED]


@pytest.mark.parametrize(
    "error", [InferenceError("x"), BackendError("x"), IndexError("row 3"), MemoryError(), RuntimeError("CUDA")]
)
def test_no_exception_of_any_kind_reaches_the_neighbours(error: Exception) -> None:
    assert run(Network(error), 1, BAD, 3, batch_size=3) == [1, Code.INFERENCE_FAILED, 3]


def test_the_client_learns_no_path_and_the_log_does(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = forward(cast(Predictor, Network()), inputs(1, BAD), batch_size=2)
    problem = found[1]
    assert isinstance(problem, RequestError)
    assert problem.message == "the model failed at this image; the server's log says why"
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "inference of 2 images failed, each is run alone: /srv/model.onnx: out of memory" in caplog.text


def test_an_error_that_nobody_thought_of_leaves_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    run(Network(IndexError("row 3")), BAD, batch_size=1)
    assert "Traceback" in caplog.text
    caplog.clear()
    run(Network(), BAD, batch_size=1)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_a_real_batch_gives_each_image_what_it_gives_alone(tmp_path: Path, batch_size: int) -> None:
    folder = build_batch_bundle(tmp_path / "bundle")
    images = list(np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3)).astype(np.uint8))
    with Predictor.from_bundle(folder, backend="onnxruntime", batch=True) as predictor:
        found = forward(predictor, images, batch_size=batch_size)
    with Predictor.from_bundle(folder, backend="onnxruntime") as alone:
        for image, outputs in zip(images, found, strict=True):
            assert not isinstance(outputs, RequestError)
            np.testing.assert_allclose(outputs["probs"], alone.raw_outputs(image)["probs"], rtol=1e-6)
