"""`tools/predict.py --ray` without a cluster: what it refuses, and what it says of a folder in which nothing is left to do."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY, load_tool
from cvforge.cli import run_command
from cvforge_edge.errors import UsageError
from cvforge_server.bulk import cluster
from edge.conftest import build_bundle
from server.bulk.making import job_for, make_photos, run_here


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle and pictures, which is the current one."""
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", ["a.png", "b.png", "c.png"])
    build_bundle(tmp_path / "bundle", "detector", formats=("onnx",), golden=False)
    build_bundle(tmp_path / "classifier", "classifier", formats=("onnx",), golden=False)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("task: detection\n")
    return tmp_path


def predict(*arguments: str) -> int:
    return run_command(load_tool("predict").main, [*arguments, "--output", "out"])


BULK = ("bundle", "--source", "photos", "--ray")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bundle", "--source", "photos", "--workers", "2"), 2, "--workers: only with --ray"),
        (
            ("bundle", "--source", "photos", "--retry-errors", "--part-images", "9"),
            2,
            "--part-images, --retry-errors: ",
        ),
        ((*BULK, "--max-frames", "3", "--checkpoint", "last"), 2, "--checkpoint, --max-frames: not with --ray"),
        (
            ("run", "--source", "photos", "--ray"),
            2,
            "run: is a run; --ray takes a bundle: python tools/export.py --run",
        ),
        ((*BULK, "--batch-size", "4"), 2, "--batch-size: only with --batch"),
        (("classifier", *BULK[1:], "--score-threshold", "0.5"), 2, "--score-threshold: only for detection"),
        ((*BULK, "--batch"), 7, "no model of the batch form"),
        ((*BULK, "--precision", "int8"), 7, "no model int8"),
        ((*BULK, "--backend", "onnx"), 11, "found 'onnx', accepted litert"),
        (("photos", *BULK[1:]), 7, "manifest.json: not found"),
        (("bundle", "--source", "nowhere", "--ray"), 8, "there is no such file or folder"),
        (("bundle", "--source", "run", "--ray"), 8, "found no image"),
        (
            ("bundle", "--source", "s3://b/x/*.jpg", "--ray"),
            2,
            "--source s3://b/x/*.jpg: found an address, accepted: what is",
        ),
        (("bundle", "--source", "https://h/a.jpg", "--ray"), 2, "--source https://h/a.jpg: found an address"),
    ],
)
def test_bad_input_ends_with_its_code_and_a_message(
    arguments: tuple[str, ...], code: int, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*arguments) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("head", 2, "--ray-address: found 'head', accepted HOST:PORT"),
        ("http://head:x", 2, "found 'http://head:x'"),
        ("127.0.0.1:99999", 14, "it cannot be reached"),
        ("FREE", 14, "it cannot be reached ([Errno 111] Connection refused); is a cluster running there"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_at_once(
    address: str, code: int, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and listened on by nobody
        address = f"127.0.0.1:{nobody.getsockname()[1]}" if address == "FREE" else address
        assert predict(*BULK, "--ray-address", address) == code
    assert words in capsys.readouterr().err


def test_a_cluster_that_wants_a_token_is_told_apart() -> None:
    refused = ConnectionError("Failed to connect to Ray cluster at head:6379")
    refused.__cause__ = RuntimeError("RPC error: InvalidAuthToken: Authentication token is missing or incorrect.")
    assert "asks for a token: set RAY_AUTH_MODE=token" in str(cluster.not_started("head:6379", refused))
    assert "token" not in str(cluster.not_started("head:6379", ConnectionError("no route")))
    assert "it cannot be started here (TimeoutError)" in str(cluster.not_started(None, TimeoutError()))


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "many"])
def test_a_size_that_is_none_is_refused(given: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        predict(*BULK, "--max-megapixels", given)
    assert ended.value.code == 2
    assert f"found '{given}', expected a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["ray", "pyarrow"])
def test_without_ray_the_extra_is_named(
    missing: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    assert predict(*BULK) == 2
    assert f"--ray: {missing} not installed; install the extra `ray`: pip install" in capsys.readouterr().err
    assert not (here / "out").exists()


def test_results_of_other_options_are_refused_with_code_6(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_here(job_for(here / "bundle", here / "photos", here / "out"))
    assert predict(*BULK, "--score-threshold", "0.25") == 6
    assert "score_threshold: found None, asked for 0.25" in capsys.readouterr().err


def test_where_nothing_is_left_to_do_the_summary_says_what_stands(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "photos" / "b.png").write_bytes(b"x")
    run_here(job_for(here / "bundle", here / "photos", here / "out"))
    assert predict(*BULK) == 0
    assert capsys.readouterr().out == (
        "3 images: 2 predicted, 1 with errors (1 damaged_image); 3 of them stood there already\n"
        "results: out/parts/*.parquet\n"
    )


def test_where_no_image_could_be_predicted_the_code_is_4(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (here / "photos" / name).write_bytes(b"x")
    run_here(job_for(here / "bundle", here / "photos", here / "out"))
    assert predict(*BULK) == 4
    assert "3 images: 0 predicted, 3 with errors (3 damaged_image)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("workers", "gpus", "share"), [(1, 1, 1.0), (4, 1, 0.25), (3, 2, 0.5), (4, 4, 1.0), (2, 4, 1.0), (5, 2, 1 / 3)]
)
def test_workers_share_gpus_so_that_all_find_place(workers: int, gpus: int, share: float) -> None:
    found = cluster.gpus_per_worker(workers, backend="onnxruntime-cuda", gpus=gpus)
    assert found == pytest.approx(share)
    assert int(1 / found) * gpus >= workers
    assert cluster.gpus_per_worker(workers, backend="onnxruntime", gpus=gpus) == 0


def test_a_gpu_that_ray_does_not_find_is_an_error() -> None:
    with pytest.raises(UsageError, match="--backend onnxruntime-cuda: Ray finds no GPU"):
        cluster.gpus_per_worker(1, backend="onnxruntime-cuda", gpus=0)


@pytest.mark.parametrize(
    ("backend", "threads", "workers"),
    [("onnxruntime", 1, 16), ("onnxruntime", 3, 5), ("litert", 32, 1), ("onnxruntime-cuda", 1, 2)],
)
def test_as_many_workers_as_a_cluster_has_place_for(
    backend: str, threads: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    assert cluster.workers_of_cluster(threads, backend=backend) == workers


def test_neither_the_trainer_nor_its_packages_are_needed(here: Path) -> None:
    run_here(job_for(here / "bundle", here / "photos", here / "out"))
    without = "import sys, runpy; sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(','))); "
    script = (
        f"sys.argv = sys.argv[1:]; runpy.run_path({str(REPOSITORY / 'tools' / 'predict.py')!r}, run_name='__main__')"
    )
    trainer = "torch,torchvision,pytorch_lightning,omegaconf,hydra,rich,albumentations,cvforge.config,cvforge.tasks"
    code = [str(REPOSITORY), *(str(REPOSITORY / "deploy" / name) for name in ("edge", "server"))]
    found = subprocess.run(
        [sys.executable, "-c", without + script, trainer, "predict.py", *BULK, "--output", "out"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(code)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("3 images: 3 predicted, 0 with errors")
