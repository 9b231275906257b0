"""A server machine needs numpy, OpenCV and one inference runtime for what answers requests; nothing of the trainer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edge.test_torch_free import FORBIDDEN, RUNTIMES

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NOT_FOR_ANSWERS = ("psutil", "yaml", "ts", "ray", "starlette", "python_multipart", "pyarrow", "litserve")
SCRIPT = """
import importlib, importlib.abc, json, pkgutil, sys

forbidden = set(json.loads(sys.argv[1]))

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in forbidden:
            raise ImportError(f"{name} is not there on a server")
        return None

sys.meta_path.insert(0, Refuse())
sys.path[:0] = sys.argv[2:4]
import cvforge_server

names = [module.name for module in pkgutil.walk_packages(cvforge_server.__path__, "cvforge_server.")]
for name in names:
    importlib.import_module(name)
loaded = sorted({name.split(".")[0] for name in sys.modules})
if len(sys.argv) > 4:
    from cvforge_server.core import Core
    from cvforge_server.request import Part
    replies = Core.from_bundle(sys.argv[4]).answer([[Part("body", open(sys.argv[5], "rb").read())]], ids=["r"])
    print(replies[0].body.decode())
else:
    print(json.dumps({"imported": names, "loaded": loaded}))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    forbidden = json.dumps((*FORBIDDEN, *NOT_FOR_ANSWERS))
    # -I: neither the environment nor the current folder adds a path.
    command = [sys.executable, "-I", "-c", SCRIPT, forbidden, str(DEPLOY / "edge"), str(DEPLOY / "server"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_module_imports_without_the_trainer_and_loads_no_runtime() -> None:
    found = run()
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    files = set((DEPLOY / "server" / "cvforge_server").rglob("*.py"))
    files = {path for path in files if path.name != "__init__.py"}
    imported = {name for name in report["imported"] if (DEPLOY / "server" / (name.replace(".", "/") + ".py")).is_file()}
    assert len(imported) == len(files)
    assert not set(RUNTIMES + FORBIDDEN + NOT_FOR_ANSWERS) & set(report["loaded"])


def test_a_request_is_answered_without_the_trainer(tmp_path: Path) -> None:
    from edge.conftest import build_bundle
    from server.asking import SQUARES

    bundle = build_bundle(tmp_path / "bundle", "detector", formats=("onnx",), golden=False)
    (tmp_path / "squares.png").write_bytes(SQUARES)
    found = run(str(bundle), str(tmp_path / "squares.png"))
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)["results"][0]["detections"]
    assert [row["label"] for row in rows] == ["red", "blue"]
