"""Updates and scaling of a model on Ray Serve under load: no request may fail, and every answer must be the core's.

    python benchmarks/ray_serving.py --bundle bundles/det_bccd --image cells.jpg
    python benchmarks/ray_serving.py --bundle bundles/det_bccd --image cells.jpg --clients 8 --updates 20

On a cluster of two nodes on this machine, with deploy/server/serve.yaml's first application (one processor a node, its proxy
on the first alone: two on one machine would share a port, which two machines never do). Clients ask without a pause while

  updates     the bundle is exchanged by `user_config`, to and fro between two versions, with one replica
  damaged     a bundle that cannot be loaded is rolled out
  replaced    `args` change, so that Ray replaces the replica
  scaled up   a second replica is started, on the other node, and the bundle exchanged again
  scaled down nobody asks, and the second replica goes away

Results are compared with those of the same core in this process. Exit code 1 where a request failed, an answer differs, or a
state is not reached. Bounded: it ends by itself.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "deploy" / "edge"), str(ROOT / "deploy" / "server")]

from ray_cluster import LOOPBACK, RayCluster  # noqa: E402
from ray_load import Load  # noqa: E402

SERVE = ROOT / "deploy" / "server" / "serve.yaml"
QUICK = {"upscale_delay_s": 2, "downscale_delay_s": 5, "look_back_period_s": 4}
"""Of the scaling, so that the run is a short one."""
AROUND_S = 2.0
"""Of load before and after each change."""


@dataclass(frozen=True)
class Phase:
    """What became of the requests of a phase.

    Attributes:
        name: of the phase.
        answered: requests with 200.
        versions: of the models that answered.
        failed: what was said instead.
        wrong: answers that differ from the core's.
        longest_ms: for which a client waited.
        took_s: until the last change was done, one after the other.
    """

    name: str
    answered: int
    versions: tuple[int, ...]
    failed: list[str]
    wrong: list[str]
    longest_ms: float
    took_s: float


class Subject:
    """The first application of serve.yaml on a cluster, with two versions of a bundle.

    Args:
        cluster: that runs.
        bundles: the two, and what their core says about the image, by fingerprint.
        image: content of a file.
        clients: at once.
    """

    def __init__(
        self,
        cluster: RayCluster,
        *,
        bundles: tuple[Path, Path],
        expected: Mapping[str, Any],
        image: bytes,
        clients: int,
    ) -> None:
        self._cluster, self._expected, self._image, self._clients = cluster, expected, image, clients
        self.bundles = bundles
        self.config = local_config(cluster)
        self.application = self.config["applications"][0]
        self._deployment = self.application["deployments"][0]
        self.name, self.path = self.application["name"], self.application["route_prefix"]
        self.version = 1

    def deploy(self, *, most: int) -> None:
        """Bring the present version to run, with at most so many replicas."""
        self._deployment["autoscaling_config"] |= {"min_replicas": 1, "max_replicas": most, **QUICK}
        self.use(self.bundles[self.version - 1])

    def use(self, bundle: Path) -> None:
        """Roll a bundle out."""
        self._deployment["user_config"]["bundle"] = str(bundle)
        self._cluster.apply(self.config)
        self.settle()

    def exchange(self) -> None:
        """Roll the other version out, and wait until it answers."""
        self.version = 3 - self.version
        self.use(self.bundles[self.version - 1])
        self._cluster.wait(lambda: self.look()["model"]["version"] == self.version, f"version {self.version}")

    def replace_replicas(self, max_images: int) -> None:
        """Change the arguments, and wait until other replicas answer."""
        before = {replica["replica_id"] for replica in self._cluster.replicas(self.name)}
        self.application["args"]["max_images"] = max_images
        self._cluster.apply(self.config)
        self._cluster.wait(
            lambda: bool(now := {r["replica_id"] for r in self._cluster.replicas(self.name)}) and not now & before,
            "other replicas",
        )
        self.settle()

    def settle(self) -> None:
        """Wait until Ray has nothing more to do for it."""
        time.sleep(1.0)  # the interface may still tell the state of before
        self._cluster.wait_for_status(self.name)

    def wait_for_replicas(self, count: int) -> list[str]:
        """Wait until so many run; the nodes they are on."""
        self._cluster.wait(lambda: len(self._cluster.replicas(self.name)) == count, f"{count} replicas")
        return [replica["node_id"] for replica in self._cluster.replicas(self.name)]

    def look(self) -> dict[str, Any]:
        """What the model says about itself."""
        return look(self._cluster.port, self.path)

    def load(self) -> Load:
        """Clients, not yet started."""
        return Load(self._cluster.port, self.path, image=self._image, clients=self._clients, expected=self._expected)


def main() -> int:
    """Measure, print the table, judge; the exit code."""
    options = _parser().parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    image = options.image.read_bytes()
    with ExitStack() as resources:
        folder = Path(tempfile.mkdtemp(prefix="ray-bundles-"))
        resources.callback(shutil.rmtree, folder, ignore_errors=True)
        bundles = two_versions(options.bundle, folder)
        expected = dict(core_says(bundle, image) for bundle in bundles)
        cluster = resources.enter_context(RayCluster(cpus=1))
        subject = Subject(cluster, bundles=bundles, expected=expected, image=image, clients=options.clients)
        del subject.config["applications"][1:]
        phases, problems = measure(subject, folder / "damaged", updates=options.updates)
    print(table(phases))
    problems += [f"{phase.name}: {text}" for phase in phases for text in (*phase.failed, *phase.wrong)]
    total = sum(phase.answered for phase in phases)
    failed, wrong = (sum(len(getattr(phase, name)) for phase in phases) for name in ("failed", "wrong"))
    print(f"\nfailed requests: {failed} of {total + failed}, target 0{'' if not failed else ' MISSED'}")
    print(f"answers other than the core's: {wrong}, target 0{'' if not wrong else ' MISSED'}")
    for text in problems:
        print(f"MISSED {text}")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ray", "onnxruntime", "starlette"))
    cores = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(f"machine  {cores}, Python {platform.python_version()}, {versions}")
    return 1 if problems else 0


def measure(subject: Subject, damaged: Path, *, updates: int) -> tuple[list[Phase], list[str]]:
    """The phases one after the other, and what else was not as it should be."""
    problems: list[str] = []
    phases: list[Phase] = []
    subject.deploy(most=1)
    shutil.copytree(subject.bundles[0], damaged)
    for path in damaged.glob("*.onnx"):
        path.write_bytes(b"damaged")
    with _Timed("updates", subject, phases):
        for _ in range(updates):
            subject.exchange()
    if len(phases[-1].versions) != 2:
        problems.append(f"updates: only version {phases[-1].versions} answered")
    with _Timed("damaged", subject, phases):
        subject.use(damaged)
        refused = subject.look()["update_refused"]
    if not refused or phases[-1].versions != (subject.version,):
        problems.append(f"damaged: refused {refused}, answered by version {phases[-1].versions}")
    subject.exchange()
    with _Timed("replaced", subject, phases):
        subject.replace_replicas(8)
    with _Timed("scaled up", subject, phases):
        subject.deploy(most=2)
        nodes = subject.wait_for_replicas(2)
        subject.exchange()
    if len(set(nodes)) != 2:
        problems.append(f"scaled up: both replicas on node {nodes[0]}")
    started_s = time.monotonic()
    subject.wait_for_replicas(1)
    phases.append(Phase("scaled down", 0, (), [], [], 0.0, time.monotonic() - started_s))
    return phases, problems


class _Timed:
    """A phase under load: `with` begins and ends it."""

    def __init__(self, name: str, subject: Subject, phases: list[Phase]) -> None:
        self._name, self._phases, self._load = name, phases, subject.load()

    def __enter__(self) -> None:
        print(f"{self._name} ...", file=sys.stderr)
        self._load.__enter__()
        time.sleep(AROUND_S)
        self._started_s = time.monotonic()

    def __exit__(self, *error: Any) -> None:
        took_s = time.monotonic() - self._started_s
        time.sleep(AROUND_S)
        load = self._load
        load.__exit__(*error)
        versions = tuple(sorted(load.answered))
        self._phases.append(Phase(self._name, load.count, versions, load.failed, load.wrong, load.longest_ms, took_s))


def local_config(cluster: RayCluster) -> dict[str, Any]:
    """serve.yaml for a cluster on one machine."""
    found: dict[str, Any] = yaml.safe_load(SERVE.read_text(encoding="utf-8"))
    found["http_options"]["port"] = cluster.port
    found["proxy_location"] = "HeadOnly"
    return found


def two_versions(bundle: Path, folder: Path) -> tuple[Path, Path]:
    """Copies of a bundle that differ in the version they say, and so in their fingerprint."""
    from cvforge_edge.bundle import open_bundle
    from cvforge_edge.manifest import write_manifest

    manifest = open_bundle(bundle).manifest
    for version in (1, 2):
        copy = folder / f"version-{version}"
        shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("signature.json"))
        write_manifest(replace(manifest, version=version), copy)
    return folder / "version-1", folder / "version-2"


def core_says(bundle: Path, image: bytes) -> tuple[str, Any]:
    """Fingerprint of a bundle and the results of its core, in this process."""
    from cvforge_server.core import Core
    from cvforge_server.request import Part

    core = Core.from_bundle(bundle)
    (reply,) = core.answer([[Part("body", image, "application/octet-stream")]], ids=["0"])
    core.close()
    if reply.status != 200:
        raise SystemExit(f"{bundle}: {reply.body.decode()}")
    return core.model["fingerprint"], json.loads(reply.body)["results"]


def look(port: int, path: str) -> dict[str, Any]:
    """`GET PATH/ready`."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    try:
        connection.request("GET", f"{path}/ready")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


def table(phases: list[Phase]) -> str:
    """One row a phase."""
    lines = [
        "| phase | answered | failed | versions that answered | longest wait, ms | took, s |",
        "|---|---|---|---|---|---|",
    ]
    for phase in phases:
        versions = ", ".join(map(str, phase.versions)) or "-"
        row = f"{phase.name} | {phase.answered} | {len(phase.failed)} | {versions}"
        lines.append(f"| {row} | {phase.longest_ms:.0f} | {phase.took_s:.1f} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="JPEG, PNG or WebP")
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="at once (default 4)")
    parser.add_argument("--updates", type=int, default=6, metavar="N", help="of the bundle, one replica (default 6)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
