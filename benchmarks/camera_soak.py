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
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from soak_peers import TOPIC, Broker, free_port, hook_server, subscriber, watch_page

EDGE = Path(__file__).resolve().parent.parent / "deploy" / "edge"
CAMERAS = 4
SAMPLE_EVERY_S = 2.0
MOST_WARM_UP_S = 600.0
AWAY_S = 3.0
MOST_SLOPE_MB_PER_H = 1.0
FEWEST_SAMPLES = 10
RULES = """
units: fraction
rules:
  - {name: middle, kind: line_crossing, line: [[0.5, 0], [0.5, 1]]}
  - {name: left half, kind: zone_dwell, zone: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], longer_than_s: 1}
  - {name: crowd, kind: zone_occupancy, zone: [[0, 0], [1, 0], [1, 1], [0, 1]], at_least: 2}
"""


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
        environment = {"MALLOC_ARENA_MAX": "2", **os.environ}  # as cvforge-camera.service sets it
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
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
