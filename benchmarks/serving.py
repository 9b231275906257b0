"""What a server costs beside the network: the same core in this process, behind TorchServe, and behind LitServe.

    python benchmarks/serving.py --bundle bundles/cls_clothing --image shirt.jpg
    python benchmarks/serving.py --bundle bundles/cls_clothing --image shirt.jpg --litserve other/.venv/bin/python --rounds 7

Contenders take turns in every round, all on loopback, with one connection kept open for each client:

  in-process          the image decoded and given to `cvforge_edge.Predictor`, one after the other: no server can go below
  core                `cvforge_server.core.Core.answer`, likewise: reads a request and writes its JSON, too
  torchserve 1, 2     `tools/serve.py` with one and with two workers of one thread
  litserve 1, 2       `benchmarks/litserve_app.py`, likewise, where `--litserve` names a Python that has LitServe

Latency is that of one client that waits for each answer, throughput that of `--clients` at once, processor time that of
all processes of the server, Java too. Targets: latency at most 4 ms and processor time at most 25 % above in-process; two
workers at least 1.7 times as fast as one (for a classifier, on a machine with a core for each and one for the clients);
TorchServe at least 0.9 times as fast as LitServe. Exit code 1 where one is missed. Bounded: it ends by itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "deploy" / "edge"), str(ROOT / "deploy" / "server")]
MOST_MS, MOST_CPU, LEAST_SCALING, LEAST_OF_LITSERVE = 4.0, 1.25, 1.7, 0.9
MS_PER_S = 1000.0
START_S = 120.0


@dataclass(frozen=True)
class Figures:
    """One round of one contender.

    Attributes:
        p50_ms: median of the latency of one client.
        p99_ms: likewise.
        cpu_ms: processor time of a request.
        per_s: answers a second to several clients at once.
    """

    p50_ms: float
    p99_ms: float
    cpu_ms: float
    per_s: float


@dataclass(frozen=True)
class Contender:
    """How a contender is asked.

    Attributes:
        ask: makes a function of one client, which sends one request and waits for its answer.
        cpu_s: processor time so far.
    """

    ask: Callable[[], Callable[[], None]]
    cpu_s: Callable[[], float]


def main() -> int:
    """Measure, print the tables, judge; the exit code."""
    options = _parser().parse_args()
    data = options.image.read_bytes()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ExitStack() as resources:
        contenders = {"in-process": in_process(options.bundle, data), "core": core_alone(options.bundle, data)}
        for workers in (1, 2):
            contenders[f"torchserve {workers}"] = torchserve(options.bundle, data, workers=workers, resources=resources)
            if options.litserve:
                python, bundle = options.litserve, options.bundle
                contenders[f"litserve {workers}"] = litserve(python, bundle, data, workers=workers, resources=resources)
        for contender in contenders.values():
            measure(contender, requests=options.requests // 4 + 1, clients=options.clients)
        rounds = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            rounds.append(
                {
                    name: measure(one, requests=options.requests, clients=options.clients)
                    for name, one in contenders.items()
                }
            )
    print(table(rounds))
    missed = [line for line in verdicts(rounds) if line.endswith("MISSED")]
    print("\n".join(verdicts(rounds)))
    print(
        f"machine  {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    return 1 if missed else 0


def measure(contender: Contender, *, requests: int, clients: int) -> Figures:
    """Latency and processor time with one client, throughput with several."""
    ask = contender.ask()
    begun_cpu_s = contender.cpu_s()
    took_ms = []
    for _ in range(requests):
        started_s = time.perf_counter()
        ask()
        took_ms.append((time.perf_counter() - started_s) * MS_PER_S)
    cpu_ms = (contender.cpu_s() - begun_cpu_s) * MS_PER_S / requests
    asks = [contender.ask() for _ in range(clients)]
    started_s = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda one: [one() for _ in range(requests // clients)], asks))
    per_s = requests // clients * clients / (time.perf_counter() - started_s)
    cuts = statistics.quantiles(took_ms, n=100)
    return Figures(cuts[49], cuts[98], cpu_ms, per_s)


def in_process(bundle: Path, data: bytes) -> Contender:
    """The predictor in this process, with the file that the server takes; its clients share one thread's work."""
    import cv2

    from cvforge_edge.image_io import decode_image
    from cvforge_edge.predictor import Predictor

    cv2.setNumThreads(1)
    predictor = Predictor.from_bundle(bundle, backend="onnxruntime", threads=1)
    return Contender(lambda: lambda: predictor.predict(decode_image(data, name="the image")), time.process_time)


def core_alone(bundle: Path, data: bytes) -> Contender:
    """The core in this process."""
    from cvforge_server.core import Core
    from cvforge_server.request import Part

    core = Core.from_bundle(bundle)

    def ask() -> None:
        (reply,) = core.answer([[Part("body", data, "image/jpeg")]], ids=["0"])
        if reply.status != 200 or not reply.body:
            raise RuntimeError(reply.body)

    return Contender(lambda: ask, time.process_time)


def torchserve(bundle: Path, data: bytes, *, workers: int, resources: ExitStack) -> Contender:
    """A real TorchServe by `tools/serve.py`, ended with `resources`."""
    folder = Path(tempfile.mkdtemp(prefix="serving-"))
    resources.callback(shutil.rmtree, folder, ignore_errors=True)
    port = 18100 + 10 * workers
    serve = [sys.executable, str(ROOT / "tools" / "serve.py")]
    subprocess.run(
        [*serve, "archive", "--bundle", bundle.resolve(), "--name", "m", "--workers", str(workers)],
        cwd=folder,
        check=True,
    )
    subprocess.run([*serve, "start", "--port", str(port)], cwd=folder, check=True)
    resources.callback(subprocess.run, [*serve, "stop"], cwd=folder, check=True)
    token = subprocess.run(
        [*serve, "status", "--token"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()
    leader = json.loads((folder / "serving" / "server" / "server.json").read_text())["pid"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
    return Contender(lambda: client(port, "/predictions/m", data, headers), lambda: group_cpu_s(leader))


def litserve(python: Path, bundle: Path, data: bytes, *, workers: int, resources: ExitStack) -> Contender:
    """A real LitServe around the same core, ended with `resources`."""
    port = 18200 + 10 * workers
    script = [str(python), str(ROOT / "benchmarks" / "litserve_app.py"), "--bundle", str(bundle.resolve())]
    command = [*script, "--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    resources.callback(end_group, process)
    form = (
        b"--b\r\n"
        + b'Content-Disposition: form-data; name="image"; filename="image.jpg"\r\n'
        + (b"Content-Type: image/jpeg\r\n\r\n" + data + b"\r\n--b--\r\n")
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    ask, until_s = client(port, "/predict", form, headers), time.monotonic() + START_S
    while True:
        try:
            ask()
            break
        except (OSError, RuntimeError, http.client.HTTPException):
            if time.monotonic() > until_s or process.poll() is not None:
                raise
            time.sleep(0.5)
    return Contender(lambda: client(port, "/predict", form, headers), lambda: group_cpu_s(process.pid))


def client(port: int, path: str, data: bytes, headers: dict[str, str]) -> Callable[[], None]:
    """A client with a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask() -> None:
        try:
            connection.request("POST", path, data, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {body[:200]!r}")

    return ask


def group_cpu_s(leader: int) -> float:
    """Processor time of all processes of a group that are there."""
    total_s = 0.0
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == leader:
                times = process.cpu_times()
                total_s += times.user + times.system
        except (OSError, psutil.Error):
            continue
    return total_s


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it has started."""
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def table(rounds: list[dict[str, Figures]]) -> str:
    """Medians over the rounds, with the lowest and highest."""
    lines = ["| contender | p50, ms | p99, ms | processor ms a request | answers a second |", "|---|---|---|---|---|"]
    for name in rounds[0]:
        cells = []
        for figure in ("p50_ms", "p99_ms", "cpu_ms", "per_s"):
            values = [getattr(one[name], figure) for one in rounds]
            cells.append(f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(rounds: list[dict[str, Figures]]) -> list[str]:
    """Each target with what was found, pair by pair within a round."""

    def judged(text: str, values: list[float], *, limit: float, least: bool) -> str:
        found = statistics.median(values)
        good = found >= limit if least else found <= limit
        spread = f"{min(values):.2f} to {max(values):.2f}"
        return f"{text}: {found:.2f} ({spread}), target {'>=' if least else '<='} {limit:g}{'' if good else ' MISSED'}"

    bare, one, two = "in-process", "torchserve 1", "torchserve 2"
    lines = [
        judged("overhead p50, ms", [r[one].p50_ms - r[bare].p50_ms for r in rounds], limit=MOST_MS, least=False),
        judged(
            "processor time of in-process",
            [r[one].cpu_ms / r[bare].cpu_ms for r in rounds],
            limit=MOST_CPU,
            least=False,
        ),
        judged("two workers of one", [r[two].per_s / r[one].per_s for r in rounds], limit=LEAST_SCALING, least=True),
    ]
    for workers in (1, 2):
        ours, theirs = f"torchserve {workers}", f"litserve {workers}"
        if theirs in rounds[0]:
            ratios = [r[ours].per_s / r[theirs].per_s for r in rounds]
            lines.append(
                judged(
                    f"answers a second of LitServe's, {workers} workers", ratios, limit=LEAST_OF_LITSERVE, least=True
                )
            )
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="a JPEG")
    parser.add_argument(
        "--requests", type=int, default=200, metavar="N", help="of each contender in a round (default 200)"
    )
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="at once, for the throughput (default 4)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default 5)")
    parser.add_argument(
        "--litserve", type=Path, metavar="PYTHON", help="of an environment with litserve and onnxruntime"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
