"""What those who run the real TorchServe see of it: drift, and the log with the ids of requests."""

from __future__ import annotations

import re

import cv2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from conftest import REPOSITORY
from edge.conftest import two_squares
from server.real_server import MISSING, lines_of, serve, wait_for

pytestmark = [pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
PNG = cv2.imencode(".png", two_squares())[1].tobytes()


def test_drift_of_what_is_asked_is_there_for_prometheus(server):
    dark = cv2.imencode(".png", two_squares() // 4)[1].tobytes()

    def drift() -> dict[tuple[str, str | None], float]:
        server.predict("detector", dark)
        text = server.ask("/metrics", method="GET", offset=3).body.decode()
        return {
            (sample.name, sample.labels.get("quantity")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("cvforge_drift_")
            and (sample.labels["model"], sample.labels["worker"]) == ("detector", worker)
        }

    (worker,) = {line["worker"] for line in lines_of(server, event="ready", model="detector")}
    assert worker.isdecimal()
    wait_for(lambda: drift().get(("cvforge_drift_level", "brightness")) == 2)
    figures = drift()
    assert figures["cvforge_drift_images", None] >= 30
    assert figures["cvforge_drift_found", "brightness"] < 60
    (began,) = wait_for(lambda: lines_of(server, event="drift_began", quantity="brightness") or drift() and [])
    assert "darker than in training" in began["text"]
    told = serve("status", cwd=server.folder)
    assert "drift: brightness" in told.stdout, told.stdout
    text = server.ask("/metrics", method="GET", offset=3).body.decode()
    assert 'cvforge_drift_images{model="segmenter"' not in text  # its bundle has no reference


def test_a_request_keeps_the_id_that_its_client_gave_it(server):
    answer = server.ask("/predictions/detector", PNG, headers={"Content-Type": "image/png", "X-Request-Id": "mine-42"})
    assert answer.value["request_id"] == "mine-42"
    (line,) = wait_for(lambda: lines_of(server, request_id="mine-42"))
    assert {key: line[key] for key in ("event", "model", "version", "status", "codes", "objects", "bytes_in")} == {
        "event": "request",
        "model": "detector",
        "version": 1,
        "status": 200,
        "codes": ["ok"],
        "objects": 2,
        "bytes_in": len(PNG),
    }
    assert line["bytes_out"] == len(answer.body) and line["server_id"] == answer.headers["x-request-id"]
    without = server.predict("detector", PNG)
    assert without.value["request_id"] == without.headers["x-request-id"]
    (line,) = wait_for(lambda: lines_of(server, request_id=without.value["request_id"]))
    assert "server_id" not in line


@pytest.mark.parametrize("given", ["two words", "x" * 129, "{}", '","level":"error'])
def test_an_id_that_is_none_is_replaced_by_the_servers(server, given):
    answer = server.ask("/predictions/detector", b"x", headers={"Content-Type": "image/png", "X-Request-Id": given})
    assert answer.value["request_id"] == answer.headers["x-request-id"]
    (line,) = wait_for(lambda: lines_of(server, request_id=answer.value["request_id"]))
    assert (line["status"], line["codes"]) == (415, ["not_an_image"])


def test_the_metrics_of_the_documents_are_there(server):
    server.predict("detector", PNG)
    wait_for(lambda: "cvforge_drift_images{" in _metrics(server) or server.predict("detector", PNG) and False)
    types = set(re.findall(r"^# TYPE (\w+)", _metrics(server), re.MULTILINE))
    there = types | {name.removesuffix("_bucket") for name in types}  # of a histogram that is told in parts
    text = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(cvforge_\w+|ts_\w+|Requests\dXX)`", text))
    assert len(named) == 11 and named <= there
    (rules,) = re.findall(r"```yaml\n(groups:.*?)```", text, re.DOTALL)
    expressions = [rule["expr"] for group in yaml.safe_load(rules)["groups"] for rule in group["rules"]]
    used = set(re.findall(r"\b(cvforge_\w+|ts_\w+|Requests\dXX)\b", " ".join(expressions)))
    assert len(expressions) == 6 and {name.removesuffix("_bucket") for name in used} <= there


def _metrics(server) -> str:
    return server.ask("/metrics", method="GET", offset=3).body.decode()
