"""A board whose fast int8 kernels compute wrongly is found out: QEMU's default processor is one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arm_board import BAD_BOARD, Board
from board.answers import differences, golden_of, golden_photos, run_here
from cvforge_edge.bundle import describe_file
from cvforge_edge.golden import write_golden
from cvforge_edge.manifest import ModelFile, read_manifest, write_manifest

pytestmark = [pytest.mark.network, pytest.mark.slow]
# Asks the runtime itself, so that the self-test is not its own judge: one golden image, both kinds of kernels.
KERNELS = """
import sys, json, numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
errors = {}
golden = np.load(sys.argv[2])
for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
    runner = Interpreter(sys.argv[1], experimental_op_resolver_type=kernels).get_signature_runner()
    probs = runner(image=golden["input"][None])["probs"][0]
    errors[kernels.name] = float(np.abs(probs - golden["output/probs"]).max())
print(json.dumps(errors))
"""


@pytest.fixture
def wrong_kernels(shapes: Path, board: Board) -> None:
    """Skips where the emulator has learnt to compute rightly."""
    asked = ("-c", KERNELS, shapes / "model_int8.tflite", shapes / "golden" / "00.npz")
    done = board.run(*asked, cpu=BAD_BOARD)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout.splitlines()[-1])
    accepted = golden_of(shapes).tolerances["int8"].score
    if errors["BUILTIN_WITHOUT_DEFAULT_DELEGATES"] > accepted:
        pytest.skip(
            "the network of these few steps rounds otherwise by the built-in kernels than the golden vectors accept"
        )
    if errors["AUTO"] <= accepted:
        pytest.skip(f"this emulator's processor computes int8 rightly (error {errors['AUTO']:.2g}): no bad board here")


def test_wrong_fast_kernels_are_found_out_replaced_and_named(
    wrong_kernels: None, shapes: Path, board: Board, tmp_path: Path
) -> None:
    arguments = ("--bundle", shapes, "--precision", "int8", "--source", golden_photos(shapes, tmp_path / "photos"))
    here = run_here(*arguments, "--json", tmp_path / "here.jsonl", cwd=tmp_path)
    assert here.returncode == 0, here.stderr
    there = ("--json", tmp_path / "there.jsonl")
    done = board.run("run_camera.py", *arguments, "--self-test", *there, cpu=BAD_BOARD)
    assert done.returncode == 0, done.stderr
    assert "WARNING litert computes wrongly on this processor (image 0: " in done.stderr
    assert "use litert-builtin here, slower but right" in done.stderr
    assert "self-test passed: model_int8.tflite on litert-builtin, " in done.stderr
    tolerance = golden_of(shapes).tolerances["int8"]
    assert differences(tmp_path / "there.jsonl", tmp_path / "here.jsonl", bundle=shapes, tolerance=tolerance) == []

    wrong = ("--backend", "litert", "--json", tmp_path / "wrong.jsonl")
    assert board.run("run_camera.py", *arguments, *wrong, cpu=BAD_BOARD).returncode == 0  # nobody asked for a test
    assert differences(tmp_path / "wrong.jsonl", tmp_path / "here.jsonl", bundle=shapes, tolerance=tolerance)


def test_float_files_pass_there_with_the_fast_kernels(shapes: Path, board: Board) -> None:
    done = board.run("run_camera.py", "--bundle", shapes, "--precision", "fp32", "--self-test", cpu=BAD_BOARD)
    assert done.returncode == 0, done.stderr
    assert "self-test passed: model_fp32.tflite on litert, " in done.stderr
    assert "WARNING" not in done.stderr


def test_a_file_that_no_kernels_run_as_they_should_is_refused_before_the_first_frame(
    wrong_kernels: None, shapes: Path, board: Board, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(shapes, bundle)
    expect_the_opposite(bundle)
    arguments = ("--bundle", bundle, "--precision", "int8", "--source", golden_photos(shapes, tmp_path / "photos"))
    done = board.run("run_camera.py", *arguments, "--self-test", "--json", tmp_path / "out.jsonl", cpu=BAD_BOARD)
    assert done.returncode == 9, done.stderr
    assert "this device does not reproduce the golden vectors of model_int8.tflite; do not use it here" in done.stderr
    for backend in ("litert", "litert-builtin"):
        _, _, problems = done.stderr.partition(f"  backend {backend}: image 0: ")
        assert "output 'probs' is off by " in problems.splitlines()[0]
    assert not (tmp_path / "out.jsonl").exists()


def expect_the_opposite(bundle: Path) -> None:
    """Golden vectors that the network does not give, of which a bundle's checksums know nothing."""
    golden = golden_of(bundle)
    items = [
        replace(item, outputs={**item.outputs, "probs": _turned_round(item.outputs["probs"])}) for item in golden.items
    ]
    shutil.rmtree(bundle / "golden")
    names = write_golden(bundle / "golden", items, golden.tolerances)
    manifest = read_manifest(bundle)
    models = [file for file in manifest.files if isinstance(file, ModelFile)]
    vectors = [describe_file(bundle, f"golden/{name}") for name in names]
    write_manifest(replace(manifest, files=(*models, *vectors)), bundle)


def _turned_round(probs: np.ndarray) -> np.ndarray:
    """The likeliest class becomes the least likely one: an error of the whole range."""
    return probs.max() + probs.min() - probs
