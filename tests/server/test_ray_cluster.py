"""Two models of one configuration on a real Ray cluster of two nodes: updates, scaling and a killed replica under load."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from cvforge_edge.evidence.findings import MIN_IMAGES
from cvforge_edge.records import dataclass
from cvforge_server.client import Client
from cvforge_server.core import Core
from cvforge_server.drift import AT_ONCE, LEVEL
from cvforge_server.request import Part
from edge.conftest import build_bundle
from ray_cluster import RayCluster
from ray_serving import Subject, core_says, two_versions
from server.asking import BLUE, RED, SQUARES
from server.bundles import add_reference, build_batch_bundle
from server.pictures import pictures_in_light, png_of

pytestmark = pytest.mark.slow
pytest.importorskip("ray.serve")
grpc = pytest.importorskip("grpc")

PNG = {"Content-Type": "image/png"}
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
CLASSIFIER = "/predictions/cls_clothing"


@dataclass(frozen=True)
class Deployed:
    """Two applications on two nodes: the tiny detector in two versions, and the tiny classifier in batches of four."""

    cluster: RayCluster
    detector: Subject
    folder: Path

    def ask(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] = PNG, method: str = "POST"
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON or text, and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=120)
        try:
            connection.request(method, path, body, dict(headers), encode_chunked=not isinstance(body, bytes))
            response = connection.getresponse()
            text = response.read().decode("utf-8")
            kind = response.getheader("content-type") or ""
            return response.status, json.loads(text) if kind == "application/json" else text, response.headers
        finally:
            connection.close()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("bundles")
    source = build_bundle(folder / "detector", "detector", formats=("onnx",), golden=False)
    add_reference(source, pictures_in_light(MIN_IMAGES))
    bundles = two_versions(source, folder)
    expected = dict(core_says(bundle, SQUARES) for bundle in bundles)
    with RayCluster(cpus=2) as cluster:
        subject = Subject(cluster, bundles=bundles, expected=expected, image=SQUARES, clients=4)
        detector, classifier = subject.config["applications"]
        detector["deployments"][0]["max_replicas_per_node"] = 1
        detector["args"]["drift_every_s"] = 1
        classifier["args"] |= {"batch_size": 4, "batch_delay_ms": 2000, "max_request_mb": 0.1}
        classifier["deployments"][0]["user_config"]["bundle"] = str(build_batch_bundle(folder / "classifier"))
        subject.deploy(most=1)
        cluster.wait_for_status("cls_clothing")
        yield Deployed(cluster, subject, folder)


def test_others_reach_no_port_of_the_cluster_but_those_that_want_its_token(deployed: Deployed) -> None:
    listening = []
    for process in psutil.Process(deployed.cluster.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found = process.net_connections("tcp")
            listening += [one.laddr for one in found if one.status == psutil.CONN_LISTEN]
    ports = {place.port for place in listening}
    assert {deployed.cluster.port, deployed.cluster.dashboard_port} < ports and len(
        ports
    ) > 6  # and those of Ray's core
    elsewhere = {place.port for place in listening if place.ip not in LOOPBACK}
    assert len(elsewhere) == 2  # in each replica the server that requests of other machines come to
    for port in elsewhere:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            handle = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                handle(b"", timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    connection = http.client.HTTPConnection("127.0.0.1", deployed.cluster.dashboard_port, timeout=120)
    connection.request("GET", "/api/serve/applications/")
    assert connection.getresponse().status == 401
    connection.close()


def test_the_models_of_one_configuration_answer_as_their_cores_do(deployed: Deployed) -> None:
    status, value, headers = deployed.ask(deployed.detector.path, SQUARES, headers={**PNG, "X-Request-ID": "r-1"})
    fingerprint, results = core_says(deployed.detector.bundles[0], SQUARES)
    assert (status, value["results"], value["model"]["fingerprint"]) == (200, results, fingerprint)
    assert value["request_id"] == headers["x-request-id"] == "r-1"
    line = (
        r'{.*"event": "request", "application": "det_bccd", "replica": "\w+", "request_id": "r-1", .*"status": 200, .*}'
    )
    deployed.cluster.wait(lambda: re.search(line, deployed.cluster.serve_logs()) is not None, "the line of the log")
    status, value, headers = deployed.ask(CLASSIFIER, SQUARES)
    assert (status, value["results"]) == (200, core_says(deployed.folder / "classifier", SQUARES)[1])
    assert value["request_id"] == headers["x-request-id"]
    assert deployed.ask("/predictions/other", SQUARES)[0] == 404
    with Client(f"http://127.0.0.1:{deployed.cluster.port}", model="det_bccd") as client:
        assert [found.label for found in client.predict(SQUARES, classes=["blue"]).detections] == ["blue"]


def test_requests_of_a_moment_go_through_the_network_together(deployed: Deployed) -> None:
    pictures = [RED, BLUE, SQUARES, b"no image"] * 4
    with ThreadPoolExecutor(len(pictures)) as pool:
        answers = [value for _, value, _ in pool.map(lambda data: deployed.ask(CLASSIFIER, data), pictures)]
    alone = {data: deployed.ask(CLASSIFIER, data)[1]["results"] for data in pictures[:4]}
    assert [answer["results"] for answer in answers] == [alone[data] for data in pictures]
    assert alone[RED][0]["classes"][0]["label"] != alone[BLUE][0]["classes"][0]["label"]
    # The time of the network is that of all that were gathered, in microseconds: those that were together have the same.
    assert len({answer["times_ms"]["network"] for answer in answers}) < len(pictures)


def test_a_body_of_unknown_length_is_refused_where_it_becomes_too_large(deployed: Deployed) -> None:
    chunks = iter([b"x" * 30_000] * 4)
    status, value, headers = deployed.ask(CLASSIFIER, chunks, headers={**PNG, "Transfer-Encoding": "chunked"})
    assert (status, value["error"]["code"], headers["content-type"]) == (413, "too_large", "application/json")
    assert deployed.ask(CLASSIFIER, RED)[0] == 200


def test_prometheus_finds_the_figures_of_answers(deployed: Deployed) -> None:
    assert [deployed.ask(deployed.detector.path, data)[0] for data in (b"no image", SQUARES)] == [415, 200]
    wanted = {
        'ray_cvforge_replies_total.*model="tiny-detector".*status="415"',
        'ray_cvforge_stage_seconds_count.*model="tiny-detector".*stage="network"',
        'ray_cvforge_objects_total.*application="det_bccd".*model="tiny-detector"',
        'ray_cvforge_update_refused.*model="tiny-detector".* 0.0',
    }
    missing = set(wanted)

    def all_there() -> bool:
        text = deployed.cluster.metrics()
        missing.difference_update(pattern for pattern in wanted if re.search(pattern, text))
        return not missing

    with suppress(TimeoutError):
        deployed.cluster.wait(all_there, "the figures")
    assert missing == set()


def test_prometheus_finds_the_drift_of_the_core_and_none_of_a_bundle_that_was_exchanged(deployed: Deployed) -> None:
    detector, cluster = deployed.detector, deployed.cluster
    for light, brightness in ((1.0, 0.0), (0.3, 2.0)):
        detector.exchange()
        shown = [png_of(image) for image in pictures_in_light(AT_ONCE, light=light)]
        assert {deployed.ask(detector.path, data)[0] for data in shown} == {200}
        with suppress(TimeoutError):  # the comparison below says more
            wanted = core_figures(detector.bundles[detector.version - 1], shown)
            cluster.wait(lambda w=wanted: figures(cluster.metrics()) == w, "the figures")
        assert figures(cluster.metrics()) == wanted
        levels = {
            dict(labels)["quantity"]: level for (name, *labels), level in wanted.items() if name == f"ray_{LEVEL}"
        }
        assert levels.keys() >= {"brightness", "contrast", "sharpness", "colors", "scores", "objects", "classes"}
        assert levels["brightness"] == brightness and (brightness or set(levels.values()) == {0})


def figures(text: str) -> dict[tuple[Any, ...], float]:
    """Drift of all versions in what Prometheus reads, by name and labels of ours."""
    found = {}
    for name, labels_text, number in re.findall(r"^(ray_cvforge_drift_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', labels_text))
        assert labels["application"] == "det_bccd" and labels["replica"]
        ours = tuple((key, labels[key]) for key in ("model", "version", "quantity") if labels.get(key))
        found[(name, *ours)] = pytest.approx(float(number))
    return found


def core_figures(bundle: Path, images: Sequence[bytes]) -> dict[tuple[Any, ...], float]:
    """The same of a core in this process."""
    core = Core.from_bundle(bundle, drift_every_s=1e-6)
    for data in images:
        core.answer([[Part("body", data, "image/png")]], ids=["r"])
    assert core.drift is not None
    model = (("model", core.model["name"]), ("version", str(core.model["version"])))
    found = {(f"ray_{gauge.name}", *model, *gauge.labels): gauge.value for gauge in core.drift.newest()}
    core.close()
    return found


def test_an_update_under_load_fails_no_request_and_changes_the_answers(deployed: Deployed) -> None:
    detector = deployed.detector
    first = detector.look()["model"]["fingerprint"]
    with detector.load() as load:
        deployed.cluster.wait(lambda: load.count > 20, "answers of the first version")
        for version in (2, 1, 2):
            detector.exchange()
            seen = load.answered[version]
            deployed.cluster.wait(lambda v=version, n=seen: load.answered[v] > n + 20, f"answers of version {version}")
    assert (load.failed, load.wrong) == ([], [])
    assert len(load.fingerprints) == 2 and first in load.fingerprints
    assert detector.look() == {"model": detector.look()["model"], "update_refused": False}
    assert detector.look()["model"]["fingerprint"] != first


def test_a_damaged_bundle_fails_no_request_and_the_one_before_goes_on(deployed: Deployed) -> None:
    detector, cluster = deployed.detector, deployed.cluster
    damaged = build_bundle(deployed.folder / "damaged", "detector", formats=("onnx",), golden=False)
    (damaged / "model_fp32.onnx").write_bytes(b"damaged")
    version = detector.version
    with detector.load() as load:
        cluster.wait(lambda: load.count > 20, "answers")
        detector.use(damaged)
        cluster.wait(lambda: detector.look()["update_refused"] is True, "the refusal")
        seen = load.count
        cluster.wait(lambda: load.count > seen + 20, "answers after the refusal")
    assert (load.failed, load.wrong, set(load.answered)) == ([], [], {version})
    assert "update refused" in cluster.serve_logs()
    detector.exchange()
    assert detector.look()["update_refused"] is False


def test_replicas_that_are_replaced_finish_what_they_have(deployed: Deployed) -> None:
    detector, cluster = deployed.detector, deployed.cluster
    with detector.load() as load:
        cluster.wait(lambda: load.count > 20, "answers")
        detector.replace_replicas(8)
        seen = load.count
        cluster.wait(lambda: load.count > seen + 20, "answers of the new replica")
    assert (load.failed, load.wrong) == ([], [])


def test_replicas_come_with_the_load_to_both_nodes_and_go_without_it(deployed: Deployed) -> None:
    detector = deployed.detector
    with detector.load() as load:
        detector.deploy(most=2)
        nodes = detector.wait_for_replicas(2)
        detector.exchange()  # both of them
        deployed.cluster.wait(lambda: load.answered[detector.version] > 50, "answers of the other version")
    assert len(set(nodes)) == 2
    detector.wait_for_replicas(1)
    assert (load.failed, load.wrong) == ([], [])


def test_a_replica_with_much_to_do_is_not_taken_for_a_dead_one(deployed: Deployed) -> None:
    detector, cluster = deployed.detector, deployed.cluster
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    image = base64.b64encode(cv2.imencode(".jpg", cv2.resize(noise, (4000, 3000)))[1].tobytes()).decode()
    body = json.dumps({"images": [{"data": image}] * 8, "options": {"annotated": True}}).encode()
    detector.config["applications"][0]["deployments"][0] |= {"health_check_period_s": 0.5, "health_check_timeout_s": 3}
    detector.deploy(most=1)
    detector.exchange()
    before = cluster.replicas(detector.name)
    with ThreadPoolExecutor(8) as pool:  # a minute of work for one replica
        headers = {"Content-Type": "application/json"}
        statuses = list(pool.map(lambda _: deployed.ask(detector.path, body, headers=headers)[0], range(12)))
    assert set(statuses) <= {200, 408, 503} and statuses.count(200) > 1
    assert [one["pid"] for one in cluster.replicas(detector.name)] == [one["pid"] for one in before]


def test_a_killed_replica_is_replaced_and_clients_see_a_documented_status(deployed: Deployed) -> None:
    detector, cluster = deployed.detector, deployed.cluster
    (replica,) = cluster.replicas(detector.name)
    with detector.load() as load:
        cluster.wait(lambda: load.count > 20, "answers")
        os.kill(replica["pid"], signal.SIGKILL)
        cluster.wait(
            lambda: [r["pid"] for r in cluster.replicas(detector.name)] not in ([], [replica["pid"]]), "another replica"
        )
        seen = load.count
        cluster.wait(lambda: load.count > seen + 20, "answers of the other replica")
    assert {text[:3] for text in load.failed} <= {"500", "503"}
    assert load.wrong == []
