"""`tools/predict.py --ray` on a real Ray: killed, stopped, robbed of a worker, and in the end equal to the plain command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from conftest import REPOSITORY
from edge.conftest import build_bundle
from server.bulk.making import rows

pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
pytestmark = pytest.mark.slow

IMAGES, PART_IMAGES = 240, 4
PATIENCE_S = 300
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "deploy" / "server"), str(REPOSITORY / "deploy" / "edge")]),
    "RAY_USAGE_STATS_ENABLED": "0",
}
START_RAY = "import sys; from ray.scripts.scripts import main; sys.exit(main())"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, and pictures that take a while to read: one in thirty is damaged."""
    folder = tmp_path_factory.mktemp("bulk")
    build_bundle(folder / "bundle", "detector", formats=("onnx",), golden=False)
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1500, 3), dtype=np.uint8)
    (folder / "photos" / "deeper").mkdir(parents=True)
    for number in range(IMAGES):
        picture = noise.copy()
        picture[200:900, 5 * number : 5 * number + 300] = (0, 0, 255)
        data = cv2.imencode(".jpg", picture)[1].tobytes()
        place = folder / "photos" / ("deeper" if number % 2 else "") / f"{number:03}.jpg"
        place.write_bytes(data[:-100] if number % 30 == 7 else data)
    return folder


def start(work: Path, output: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "tools" / "predict.py"), "bundle", "--source", "photos", "--ray"]
    command += ["--output", output, "--workers", "2", "--part-images", str(PART_IMAGES), *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=work, env=ENVIRONMENT, text=True, stdout=pipe, stderr=pipe)


def parts(output: Path) -> int:
    return len(list((output / "parts").glob("*.parquet")))


def wait_until(happened: Callable[[], object], run: subprocess.Popen[str] | None = None) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until_s, "nothing came of it"
        if run is not None and run.poll() is not None:
            raise AssertionError(f"it ended too early with {run.returncode}: {run.communicate()}")
        time.sleep(0.01)


def wait_for_part(run: subprocess.Popen[str], output: Path, *, more: int = 1) -> None:
    before = parts(output)
    wait_until(lambda: parts(output) >= before + more, run)


def family(run: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(run.pid).children(recursive=True)


def called(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def workers_of(run: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for process in family(run):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening_places(processes: list[psutil.Process]) -> set[str]:
    places = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found = process.net_connections("tcp")
            places |= {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}
    return places


def ray_folders(run: subprocess.Popen[str]) -> set[Path]:
    """Those that the processes of a run name in their command lines."""
    found = set()
    for process in family(run):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {Path(name) for name in re.findall(r"/tmp/cvforge-ray-\w+", " ".join(process.cmdline()))}
    return found


def plain_lines(work: Path) -> dict[str, list[dict]]:
    """What the command says without --ray, by the name of the image; it ends at a damaged image, so it gets the others."""
    good = work / "good"
    good.mkdir(exist_ok=True)
    for path in (work / "photos").rglob("*.jpg"):
        if int(path.stem) % 30 != 7:
            shutil.copy(path, good / path.name)
    command = [
        sys.executable,
        str(REPOSITORY / "tools" / "predict.py"),
        "bundle",
        "--source",
        "good",
        "--output",
        "plain",
    ]
    subprocess.run(command, cwd=work, env=ENVIRONMENT, check=True, capture_output=True)
    lines = map(json.loads, (work / "plain" / "predictions.jsonl").read_text().splitlines())
    return {Path(line["source"]).name: line["detections"] for line in lines}


def check_whole(work: Path, output: Path) -> None:
    """Every image has one row, and the rows say what the plain command says."""
    found = rows(output)
    paths = [row["path"] for row in found]
    assert sorted(paths) == sorted(str(path) for path in (work / "photos").rglob("*.jpg"))
    assert [path.name for path in (output / "parts").iterdir() if path.name.startswith(".")] == []
    plain = plain_lines(work)
    for row in found:
        name = Path(row["path"]).name
        if int(Path(name).stem) % 30 == 7:
            assert (row["status"], row["detections"]) == ("damaged_image", None)
        else:
            assert (row["status"], row["detections"]) == ("ok", plain[name])
    assert any(row["detections"] for row in found)


def test_whatever_ends_a_run_the_next_ones_complete_it(work: Path) -> None:
    output = work / "out"
    killed = start(work, "out")
    wait_for_part(killed, output)
    others = family(killed)
    assert listening_places(others) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    (folder,) = ray_folders(killed)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    killed.kill()
    killed.communicate()
    wait_until(lambda: not any(map(alive, others)))
    done = parts(output)
    assert 0 < done < IMAGES // PART_IMAGES

    stopped = start(work, "out")
    wait_for_part(stopped, output)
    assert not folder.exists()
    beside = start(work, "out")
    assert "another run works in this folder" in beside.communicate(timeout=PATIENCE_S)[1]
    assert beside.returncode == 6
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=PATIENCE_S)
    assert stopped.returncode == 130, said
    assert "the same command goes on with the others" in said
    assert done < parts(output) < IMAGES // PART_IMAGES

    robbed = start(work, "out")
    wait_for_part(robbed, output)
    workers_of(robbed)[0].kill()
    out, said = robbed.communicate(timeout=2 * PATIENCE_S)
    assert robbed.returncode == 0, said
    assert "240 images: 232 predicted, 8 with errors (8 damaged_image); " in out
    assert [line for line in said.splitlines() if "image" not in line and "listing" not in line] == []
    check_whole(work, output)


def test_a_machine_too_busy_to_start_ray_is_an_error_and_leaves_nothing(work: Path) -> None:
    """Ray waits 30 s for its raylet, which stands still here as under a load that leaves it no time."""
    run = start(work, "out-busy")
    raylets: list[psutil.Process] = []
    wait_until(lambda: raylets.extend(one for one in family(run) if called(one) == "raylet") or raylets, run)
    for raylet in raylets:
        raylet.suspend()
    others, (folder,) = family(run), ray_folders(run)
    _, said = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 14 and "Traceback" not in said, said
    assert "error: Ray: it cannot be started here (The current node timed out during startup" in said
    wait_until(lambda: not any(map(alive, others)))
    assert not folder.exists()


@pytest.fixture
def cluster(work: Path) -> Iterator[str]:
    """The address of a Ray that somebody else has started."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", START_RAY, "start", "--head", f"--port={port}", "--num-cpus=2", "--block"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}", "--object-store-memory=100000000"]
    with (work / "ray.log").open("w") as log:
        head = subprocess.Popen(
            command, env={**ENVIRONMENT, **loopback}, cwd=work, stdout=log, stderr=log, start_new_session=True
        )
    processes = [psutil.Process(head.pid)]
    try:
        wait_until(lambda: "Ray runtime started" in (work / "ray.log").read_text())
        yield f"127.0.0.1:{port}"
    finally:
        processes += processes[0].children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_that_runs_already_gets_the_code_and_does_the_work(
    work: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    run = start(work, "out-cluster", "--ray-address", cluster)
    out, said = run.communicate(timeout=2 * PATIENCE_S)
    assert run.returncode == 0, said
    assert "240 images: 232 predicted" in out
    check_whole(work, work / "out-cluster")
