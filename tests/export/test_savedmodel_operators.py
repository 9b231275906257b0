"""Every operator of a SavedModel computes what LiteRT computes for the same TFLite file."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from cvforge.export.worker import worker_environment
from export.operator_files import SIZE_HW, FileBuilder, operator_files

pytestmark = [
    pytest.mark.slow,  # importing tensorflow takes seconds
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the extra `tensorflow`"),
]
WORKER = Path(__file__).parent / "operator_worker.py"
IMAGES = 2
TOLERANCE = 1e-5


def answers_of_litert(content: bytes, images: np.ndarray) -> np.ndarray:
    run = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    return np.concatenate([run(image=image[None])["y"] for image in images])


def run_worker_on(folder: Path) -> None:
    command = [sys.executable, str(WORKER), str(folder)]
    done = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def test_every_operator_computes_what_litert_computes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *SIZE_HW, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    cases, tested = {}, set()
    for number, (name, content, kinds) in enumerate(operator_files()):
        (tmp_path / f"{number}.tflite").write_bytes(content)
        cases[name] = (number, answers_of_litert(content, images))
        tested |= kinds
    run_worker_on(tmp_path)
    wrong = {}
    for name, (number, expected) in cases.items():
        assert np.ptp(expected) > 0, f"{name} says nothing"
        for way, found in np.load(tmp_path / f"{number}.npz").items():
            assert found.shape == expected.shape, (name, way)
            error = float(np.abs(found - expected).max())
            if error > TOLERANCE * max(1.0, np.abs(expected).max()):
                wrong[f"{name} {way}"] = error
    assert wrong == {}
    assert set(json.loads((tmp_path / "operators.json").read_text())) - tested == set(), "operators without a case"


def test_what_has_no_tensorflow_form_is_named(tmp_path: Path) -> None:
    builder = FileBuilder()
    shape = (1, *SIZE_HW, 3)
    tanh = builder.options("Add", fusedActivationFunction=4)
    whole = builder.add("FLOOR", None, [builder.features], shape)
    content = builder.content(builder.add("ADD", tanh, [whole, builder.features], shape))
    (tmp_path / "0.tflite").write_bytes(content)
    np.save(tmp_path / "images.npy", np.zeros((1, *SIZE_HW, 3), np.uint8))
    done = subprocess.run(
        [sys.executable, "-m", "cvforge.export.savedmodel.write_worker", tmp_path / "0.tflite", tmp_path / "m", "r"],
        env=worker_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "no TensorFlow form for fused activation 4, operator FLOOR"
    assert not (tmp_path / "m").exists()
