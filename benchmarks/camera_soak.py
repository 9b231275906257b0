"""Whether the camera runtime can run for days: memory, descriptors and threads under everything at once, and no message lost.

    python benchmarks/camera_soak.py --bundle bundles/det_bccd --minutes 30

Starts `deploy/edge/run_camera.py` with four simulated cameras and every output: annotated video, JSON Lines and CSV with
rotation, MQTT, webhook, web page with a viewer, evidence, and with `--track` tracking and rules. Meanwhile a real mosquitto
(which must be installed) is ended and started anew `--restarts` times, and stays away for some seconds; by SIGTERM, since
a broker that is killed may lose what it has acknowledged. Everything is on loopback.

After the warm-up (a quarter of the time, ten minutes at most; what evidence knows of the last hour is complete only after
an hour: `--warm-up 60`) memory is sampled every two seconds. Its slope is that of
Theil and Sen (the median of the slopes of all pairs, which single peaks do not move), in MB of 10^6 bytes an hour. A message is
lost when the subscriber, whose session the broker keeps on its disk, misses a number between the first and the last of a run.
Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

EDGE = Path(__file__).resolve().parent.parent / "deploy" / "edge"
CAMERAS = 4
SAMPLE_EVERY_S = 2.0
MOST_WARM_UP_S = 600.0
AWAY_S = 3.0
MOST_SLOPE_MB_PER_H = 1.0
FEWEST_SAMPLES = 10
TOPIC = "soak"
RULES = """
units: fraction
rules:
  - {name: middle, kind: line_crossing, line: [[0.5, 0], [0.5, 1]]}
  - {name: left half, kind: zone_dwell, zone: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], longer_than_s: 1}
  - {name: crowd, kind: zone_occupancy, zone: [[0, 0], [1, 0], [1, 1], [0, 1]], at_least: 2}
"""


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A mosquitto that keeps sessions and waiting messages on its disk."""

    def __init__(self, folder: Path) -> None:
        self.port, self._config = free_port(), folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n"
            "user root\nmax_queued_messages 100000\nmax_inflight_messages 0\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = subprocess.Popen([program, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            time.sleep(0.1)
        raise RuntimeError("mosquitto does not listen; is it installed?")

    def stop(self) -> None:
        """End it in order: it writes down sessions and waiting messages."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)


@dataclass
class Received:
    """What the subscriber got: numbers by topic and run, in the order of their coming."""

    numbers: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))

    def lost(self) -> int:
        """Numbers that never came, between 1 and the last of each run."""
        return sum(max(seen) - len(set(seen)) for seen in self.numbers.values())

    def disordered(self) -> int:
        """Numbers that came for the first time after a higher one."""
        count = 0
        for seen in self.numbers.values():
            highest, known = 0, set()
            for number in seen:
                count += number not in known and number < highest
                highest = max(highest, number)
                known.add(number)
        return count

    def total(self) -> int:
        """Messages without duplicates."""
        return sum(len(set(seen)) for seen in self.numbers.values())


@contextlib.contextmanager
def subscriber(port: int) -> Iterator[Received]:
    """Listens to results and events with a session that outlives connections."""
    import paho.mqtt.client as mqtt

    received = Received()

    def take(_client: Any, _data: Any, message: Any) -> None:
        if message.topic.endswith("/status"):
            return
        value = json.loads(message.payload)
        received.numbers[message.topic, value["run"]].append(value["seq"])

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="soak-subscriber", clean_session=False)
    client.on_message = take
    client.on_connect = lambda client, *_: client.subscribe(f"{TOPIC}/#", qos=1)
    client.reconnect_delay_set(0.2, 0.5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield received
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def hook_server() -> Iterator[tuple[int, list[int]]]:
    """Takes webhooks; the list holds how many."""
    count = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            count[0] += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], count
    finally:
        server.shutdown()


def watch_page(port: int, stop: threading.Event) -> None:
    """A viewer of the first camera's picture, who comes back when he is sent away."""
    while not stop.is_set():
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/live/0.mjpg", timeout=5) as page,
        ):
            while not stop.is_set() and page.read(16384):
                time.sleep(0.05)
        stop.wait(0.5)


@dataclass(frozen=True)
class Sample:
    """The process at one moment."""

    time_s: float
    memory_mb: float
    descriptors: int
    threads: int


def slope_mb_per_h(samples: list[Sample]) -> float:
    """Theil (1950), Sen (1968): the median slope of all pairs; of long runs of every nth sample."""
    thinned = samples[:: max(1, len(samples) // 400)]
    slopes = [(b.memory_mb - a.memory_mb) / (b.time_s - a.time_s) for a, b in combinations(thinned, 2)]
    return 3600 * statistics.median(slopes)


def command(options: argparse.Namespace, folder: Path, *, mqtt: int, hook: int, web: int) -> list[str]:
    """The program with everything on."""
    (folder / "rules.yaml").write_text(options.rules.read_text() if options.rules else RULES)
    words: list[object] = [
        sys.executable,
        EDGE / "run_camera.py",
        "--bundle",
        options.bundle,
        "--precision",
        options.precision,
    ]
    for number in range(CAMERAS):
        words += ["--source", f"cam{number}={options.camera}"]
    words += ["--json", folder / "out.jsonl", "--csv", folder / "out.csv", "--rotate", "20"]
    words += [
        "--mqtt",
        f"mqtt://127.0.0.1:{mqtt}/{TOPIC}",
        "--webhook",
        f"http://127.0.0.1:{hook}/",
        "--queue",
        folder / "queue",
    ]
    words += [
        "--web",
        f"127.0.0.1:{web}",
        "--save",
        folder / "out.mp4",
        "--evidence",
        folder / "evidence",
        "--log",
        folder / "log.txt",
    ]
    words += ["--track", "--rules", folder / "rules.yaml"] if options.track else []
    return [str(word) for word in (*words, *options.more)]


def observe(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run it all; what was seen."""
    import psutil

    seconds, broker = 60 * options.minutes, Broker(folder)
    warm_up_s = min(MOST_WARM_UP_S, seconds / 4) if options.warm_up is None else 60 * options.warm_up
    restarts = [(number + 0.5) * seconds / options.restarts for number in range(options.restarts)]
    broker.start()
    web, stop_viewer = free_port(), threading.Event()
    with (
        hook_server() as (hook, hooks),
        subscriber(broker.port) as received,
        (folder / "stderr.txt").open("w") as errors,
    ):
        words = command(options, folder, mqtt=broker.port, hook=hook, web=web)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        threading.Thread(target=watch_page, args=(web, stop_viewer), daemon=True).start()
        seen, samples, begun_s, done = psutil.Process(process.pid), [], time.monotonic(), 0
        while (now_s := time.monotonic() - begun_s) < seconds and process.poll() is None:
            if done < len(restarts) and now_s >= restarts[done]:
                broker.stop()
                time.sleep(AWAY_S)
                broker.start()
                done += 1
                print(f"{now_s:6.0f} s: broker restarted, {samples[-1]}", file=sys.stderr, flush=True)
            samples.append(Sample(now_s, seen.memory_info().rss / 1e6, seen.num_fds(), seen.num_threads()))
            time.sleep(SAMPLE_EVERY_S)
        stop_viewer.set()
        ended_early = process.poll() is not None
        process.send_signal(signal.SIGTERM)
        asked_s = time.monotonic()
        code = process.wait(60)
        stopped_s = time.monotonic() - asked_s
        before = -1
        while received.total() != before:  # what still waits at the broker
            before = received.total()
            time.sleep(3)
    broker.stop()
    left = [line for line in (folder / "stderr.txt").read_text().splitlines() if line.strip()]
    log = folder / "log.txt"
    kept = [sample for sample in samples if sample.time_s >= warm_up_s]
    return {
        "code": code, "ended_early": ended_early, "stopped_s": stopped_s, "restarts": done, "samples": kept,
        "received": received, "hooks": hooks[0], "summary": left, "warm_up_s": warm_up_s,
        "log": log.read_text().splitlines() if log.exists() else [],
    }  # fmt: skip


def judge(found: dict[str, Any]) -> bool:
    """Print the table; whether all targets are reached."""
    if len(found["samples"]) < FEWEST_SAMPLES:
        print("\n".join(["the run ended too early to be judged:", *found["summary"][-20:], *found["log"][-20:]]))
        return False
    samples, received = found["samples"], found["received"]
    tenth = max(1, len(samples) // 10)
    first, last = samples[:tenth], samples[-tenth:]
    slope = slope_mb_per_h(samples)
    grown = {
        name: statistics.median(getattr(s, name) for s in last) - statistics.median(getattr(s, name) for s in first)
        for name in ("descriptors", "threads")
    }
    rows = [
        ("memory, MB an hour", f"{slope:+.2f}", f"< {MOST_SLOPE_MB_PER_H:g}", slope < MOST_SLOPE_MB_PER_H),
        ("memory, MB: first and last tenth", f"{first[0].memory_mb:.1f}, {last[-1].memory_mb:.1f}", "", True),
        ("descriptors, growth", f"{grown['descriptors']:+.0f}", "0", grown["descriptors"] <= 0),
        ("threads, growth", f"{grown['threads']:+.0f}", "0", grown["threads"] <= 0),
        ("MQTT messages received", f"{received.total()}", "", received.total() > 0),
        (f"lost over {found['restarts']} restarts of the broker", f"{received.lost()}", "0", received.lost() == 0),
        ("out of order", f"{received.disordered()}", "0", received.disordered() == 0),
        ("webhooks received", f"{found['hooks']}", "", True),
        ("seconds from SIGTERM to the end", f"{found['stopped_s']:.2f}", "", True),
        ("exit code", f"{found['code']}", "0", found["code"] == 0 and not found["ended_early"]),
    ]
    print("| | found | target |\n|---|---|---|")
    for name, value, target, reached in rows:
        print(f"| {name} | {value} | {target}{'' if reached else ' MISSED'} |")
    print("\n" + "\n".join(f"    {line}" for line in found["summary"][-20:]))
    return all(reached for *_, reached in rows)


def main() -> int:
    """Run, print, judge."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="cvforge-soak-") as name:
        found = observe(options, Path(name))
        if options.samples:
            rows = "".join(f"{s.time_s:.1f},{s.memory_mb:.2f},{s.descriptors},{s.threads}\n" for s in found["samples"])
            options.samples.write_text("time_s,memory_mb,descriptors,threads\n" + rows)
        if options.keep:
            shutil.copytree(name, options.keep, dirs_exist_ok=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.minutes:g} minutes, "
          f"{CAMERAS} x {options.camera}, {options.bundle.name} {options.precision}\n")  # fmt: skip
    return 0 if judge(found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--bundle", required=True, type=Path, metavar="FOLDER")
    add("--precision", default="int8", help="(default %(default)s)")
    add("--minutes", type=float, default=30.0, metavar="M", help="(default %(default)s)")
    add("--warm-up", type=float, metavar="M", help="minutes (default: a quarter, at most 10)")
    add("--restarts", type=int, default=10, metavar="N", help="of the broker (default %(default)s)")
    add("--camera", default="test:640x480@30", metavar="SOURCE", help="each of the four (default %(default)s)")
    add("--track", action="store_true", help="with tracking and rules (detection only)")
    add("--rules", type=Path, metavar="FILE", help="rules (default: a line and a zone)")
    add("--samples", type=Path, metavar="FILE", help="write the samples after the warm-up as CSV")
    add("--keep", type=Path, metavar="FOLDER", help="copy what the run wrote to a folder")
    add("more", nargs="*", metavar="OPTION", help="further options of run_camera.py, after --")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
