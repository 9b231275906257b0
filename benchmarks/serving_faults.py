"""What a real TorchServe with our handler does when things go wrong, and whether it stays well.

    python benchmarks/serving_faults.py --bundle bundles/det_bccd --image blood.jpg
    python benchmarks/serving_faults.py --bundle bundles/det_bccd --image blood.jpg --kills 5 --fuzz 1000 --many 2000

In this order, on loopback, with one worker:

  kills   the worker is killed (SIGKILL) in the middle of a request; the client must get a code that is documented, and an
          answer again within 6 s
  hangs   the worker is stopped (SIGSTOP); likewise, after the response timeout
  fuzz    requests that are mutated: bytes of images, forms, JSON, headers, options; each must get a documented status, and
          never one of 500 to 599, except for forms that TorchServe itself cannot read; the worker must be the same
          afterwards
  many    good, bad and large requests in turn; the memory of the server must not grow: less than 1 % from the second quarter
          to the last

Exit code 1 where a target is missed. Bounded: it ends by itself, and the server with it.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PORT = 18300
RECOVERY_S, GROWTH = 6.0, 0.01
DOCUMENTED = {200, 400, 413, 415, 422, 500, 503, 507}
NOT_A_FORM = (b"ErrorDataDecoderException", b"StringIndexOutOfBoundsException")
"""What TorchServe says to a form that it cannot read, before our handler sees it; documented."""
RESPONSE_TIMEOUT_S = 5
IN_FLIGHT_S = 0.15
MANY_IMAGES = 16
BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Server:
    """A server that was started for this run."""

    folder: Path
    token: str
    management_token: str
    leader: int

    def ask(self, body: bytes, headers: dict[str, str] | None = None, *, timeout_s: float = 60) -> tuple[int, bytes]:
        """Status and body; status 0 where the connection ended without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout_s)
        try:
            sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "image/jpeg", **(headers or {})}
            connection.request("POST", "/predictions/m", body, sent)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error).encode()
        finally:
            connection.close()

    def worker(self) -> int:
        """Process id of the worker; 0 while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT + 2, timeout=10)
        try:
            connection.request("GET", "/models/m", headers={"Authorization": f"Bearer {self.management_token}"})
            workers = json.loads(connection.getresponse().read())[0]["workers"]
            return int(workers[0]["pid"]) if workers and workers[0]["status"] == "READY" else 0
        finally:
            connection.close()

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of Java and of the worker, in MB of 10^6 bytes."""
        found: Counter[str] = Counter()
        for process in psutil.process_iter(["name"]):
            try:
                if os.getpgid(process.pid) == self.leader:
                    kind = "java" if process.info["name"] == "java" else "python"
                    found[kind] += process.memory_info().rss
            except (OSError, psutil.Error):
                continue
        return {kind: size / BYTES_PER_MB for kind, size in found.items()}


def main() -> int:
    """Run every part; the exit code."""
    options = _parser().parse_args()
    image = options.image.read_bytes()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    serve = [sys.executable, str(ROOT / "tools" / "serve.py")]
    made = [*serve, "archive", "--bundle", str(options.bundle.resolve()), "--name", "m"]
    subprocess.run([*made, "--timeout", str(RESPONSE_TIMEOUT_S)], cwd=folder, check=True)
    subprocess.run([*serve, "start", "--port", str(PORT)], cwd=folder, check=True)
    try:
        notes = folder / "serving" / "server"
        keys = json.loads((notes / "key_file.json").read_text())
        leader = json.loads((notes / "server.json").read_text())["pid"]
        server = Server(folder, keys["inference"]["key"], keys["management"]["key"], leader)
        lines = [
            *interrupted(server, image, times=options.kills, number=signal.SIGKILL, name="killed"),
            *interrupted(server, image, times=options.hangs, number=signal.SIGSTOP, name="hung"),
            *fuzz(server, image, count=options.fuzz, seed=options.seed),
            *many(server, image, count=options.many),
        ]
    finally:
        subprocess.run([*serve, "stop"], cwd=folder, check=True)
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(lines))
    return 1 if any(line.endswith("MISSED") for line in lines) else 0


def interrupted(server: Server, image: bytes, *, times: int, number: signal.Signals, name: str) -> list[str]:
    """Signal the worker in the middle of requests; what clients saw, and how long until the next answer."""
    statuses: Counter[int] = Counter()
    recovery_s = []
    body = json.dumps({"images": [base64.b64encode(image).decode()] * MANY_IMAGES}).encode()
    for turn in range(times):
        print(f"{name}: {turn + 1} of {times}", file=sys.stderr)
        seen: list[int] = []
        client = threading.Thread(
            target=lambda found=seen: found.append(server.ask(body, {"Content-Type": "application/json"})[0])
        )
        worker = server.worker()
        client.start()
        time.sleep(IN_FLIGHT_S)
        os.kill(worker, number)
        client.join()
        statuses.update(seen)
        ended_s = time.monotonic()
        while server.ask(image)[0] != 200 and time.monotonic() < ended_s + 60:
            time.sleep(0.1)
        recovery_s.append(time.monotonic() - ended_s)
        while not server.worker():
            time.sleep(0.1)
    if not times:
        return []
    documented = set(statuses) <= DOCUMENTED and 200 not in statuses
    return [
        f"{name} {times} times in the middle of a request: the client saw {_counts(statuses)}{'' if documented else ' MISSED'}",
        f"{name}: next answer after {statistics.median(recovery_s):.1f} s ({min(recovery_s):.1f} to {max(recovery_s):.1f}), "
        f"target {RECOVERY_S:g}{'' if max(recovery_s) <= RECOVERY_S else ' MISSED'}",
    ]


def fuzz(server: Server, image: bytes, *, count: int, seed: int) -> list[str]:
    """Mutated requests; statuses that came, and whether the worker survived them."""
    rng, statuses, worker = random.Random(seed), Counter[int](), server.worker()
    strange: list[str] = []
    forms = 0
    for turn in range(count):
        if turn % 500 == 0:
            print(f"fuzz: {turn} of {count}", file=sys.stderr)
        body, headers = rng.choice(MUTATIONS)(rng, image)
        status, answer = server.ask(body, headers)
        statuses[status] += 1
        if status >= 500 and any(kind in answer for kind in NOT_A_FORM):
            statuses[status] -= 1
            forms += 1
        elif status not in DOCUMENTED or status >= 500:
            strange.append(f"  {status} for {headers} {body[:60]!r}: {answer[:200]!r}")
    same = server.worker() == worker
    who, verdict = "the same" if same else "another", "" if same and not strange else " MISSED"
    return [
        f"fuzz: {count} requests: {_counts(+statuses)}, 500 for a form that is none {forms} times; the worker is {who}{verdict}",
        *strange[:20],
    ]


def many(server: Server, image: bytes, *, count: int) -> list[str]:
    """Requests of every kind in turn; memory by quarters."""
    kinds: list[tuple[bytes, dict[str, str]]] = [
        (image, {}),
        (image, {"X-CVForge-Options": "annotated=true"}),
        (image[: len(image) // 2], {}),
        (json.dumps({"images": [base64.b64encode(image).decode()] * 4}).encode(), {"Content-Type": "application/json"}),
        (b"x" * 1_000_000, {}),
    ]
    samples: list[dict[str, float]] = []
    for turn in range(count):
        server.ask(*kinds[turn % len(kinds)])
        if turn % max(1, count // 100) == 0:
            samples.append(server.memory_mb())
            print(f"many: {turn} of {count}, {samples[-1]}", file=sys.stderr)
    lines = []
    quarter = len(samples) // 4
    for kind in sorted(samples[0]) if quarter else ():
        second = statistics.median(sample[kind] for sample in samples[quarter : 2 * quarter])
        last = statistics.median(sample[kind] for sample in samples[-quarter:])
        growth = last / second - 1
        verdict = "" if growth <= GROWTH else " MISSED"
        lines.append(
            f"many: {count} requests, {kind}: {second:.1f} MB in the second quarter, {last:.1f} in the last "
            f"({growth:+.2%}, target {GROWTH:+.0%}){verdict}"
        )
    return lines


def _counts(statuses: Counter[int]) -> str:
    return ", ".join(f"{status or 'no answer'} {count} times" for status, count in sorted(statuses.items()))


def _flipped(rng: random.Random, image: bytes) -> tuple[bytes, dict[str, str]]:
    data = bytearray(image)
    for _ in range(rng.choice((1, 10, 1000))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data), {}


def _cut(rng: random.Random, image: bytes) -> tuple[bytes, dict[str, str]]:
    return image[: rng.randrange(len(image))], {}


def _noise(rng: random.Random, image: bytes) -> tuple[bytes, dict[str, str]]:
    start = rng.choice(
        (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"GIF89a", b"BM", b"II*\0")
    )
    return start + rng.randbytes(rng.choice((0, 1, 20, 5000))), {"Content-Type": rng.choice(TYPES)}


def _promise(rng: random.Random, image: bytes) -> tuple[bytes, dict[str, str]]:
    """A PNG that says that it is large."""
    sides = b"".join(rng.choice((1, 7000, 65535, 2**31 - 1)).to_bytes(4, "big") for _ in range(2))
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + sides + bytes([8, 2, 0, 0, 0]) + rng.randbytes(40), {}


def _json(rng: random.Random, image: bytes) -> tuple[bytes, dict[str, str]]:
    good = {"images": [{"name": "a", "data": base64.b64encode(image).decode()}], "options": {"score_threshold": 0.5}}
    text = bytearray(json.dumps(good).encode())
    for _ in range(rng.choice((1, 3, 50))):
        place = rng.choice((rng.randrange(60), rng.randrange(len(text)), len(text) - 1 - rng.randrange(40)))
        text[place] = rng.choice(b'{}[]",:0nul\\\xff ')
    odd = rng.choice(
        (bytes(text), b"[" * 100_000, b'{"images":' * 500, b"null", b'{"images":[{}]}', b'{"images":["="]}', b"")
    )
    return odd, {"Content-Type": "application/json"}


def _form(rng: random.Random, image: bytes) -> tuple[bytes, dict[str, str]]:
    name = rng.choice(("a", "score_threshold", "body", "Authorization", "", "x" * 300, "\u00e4", 'q"q'))
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head.encode() + image + b"\r\n--b" + rng.choice((b"--\r\n", b"", b"\r\n", b"--"))
    return body, {"Content-Type": f"multipart/form-data; boundary={rng.choice(('b', 'b', 'c', ''))}"}


def _options(rng: random.Random, image: bytes) -> tuple[bytes, dict[str, str]]:
    name = rng.choice(("score_threshold", "classes", "masks", "top", "annotated", "other", "", "%00"))
    value = rng.choice(("0.5", "-1", "nan", "1e999", "", "%ff%fe", "true", "9" * 500, "a,b", ",", "%s", "${x}"))
    return image, {"X-CVForge-Options": f"{name}={value}" + "&a=1" * rng.choice((0, 1, 100))}


TYPES = ("image/jpeg", "image/png", "application/octet-stream", "text/plain", "", "a/b; c=d", "image/webp")
MUTATIONS: tuple[Callable[[random.Random, bytes], tuple[bytes, dict[str, str]]], ...] = (
    _flipped,
    _cut,
    _noise,
    _promise,
    _json,
    _form,
    _options,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="a JPEG")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="(default 20)")
    parser.add_argument("--hangs", type=int, default=3, metavar="N", help="(default 3)")
    parser.add_argument("--fuzz", type=int, default=10_000, metavar="N", help="requests (default 10000)")
    parser.add_argument("--many", type=int, default=20_000, metavar="N", help="requests (default 20000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the mutations (default 0)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
