"""The device package needs numpy, OpenCV and one inference runtime, and loads that runtime only when it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EDGE = Path(__file__).resolve().parents[2] / "deploy" / "edge"
FORBIDDEN = (
    "torch",
    "torchvision",
    "lightning",
    "pytorch_lightning",
    "hydra",
    "omegaconf",
    "cvforge",
    "PIL",
    "albumentations",
    "matplotlib",
    "tensorflow",
    "onnx",
    "timm",
    "pandas",
    "scipy",
)
RUNTIMES = ("ai_edge_litert", "tflite_runtime", "onnxruntime")
ONLY_WHEN_ASKED_FOR = ("cryptography", "yaml", "paho")
SCRIPT = """
import importlib, importlib.abc, json, pkgutil, sys

forbidden = set(json.loads(sys.argv[1]))

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in forbidden:
            raise ImportError(f"{name} is not there on a device")
        return None

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[2])
import cvforge_edge

names = [module.name for module in pkgutil.walk_packages(cvforge_edge.__path__, "cvforge_edge.")]
for name in [*names, "run_camera", "benchmark"]:
    importlib.import_module(name)
print(json.dumps({"imported": names, "loaded": sorted({name.split(".")[0] for name in sys.modules})}))
"""


def test_every_device_module_imports_without_the_trainer_and_loads_no_runtime():
    # -I: neither the environment nor the current folder adds a path.
    arguments = [sys.executable, "-I", "-c", SCRIPT, json.dumps(FORBIDDEN), str(EDGE)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    files = {path for path in (EDGE / "cvforge_edge").rglob("*.py") if path.name != "__init__.py"}
    imported = {name for name in report["imported"] if (EDGE / (name.replace(".", "/") + ".py")).is_file()}
    assert len(imported) == len(files)
    assert not set(RUNTIMES + ONLY_WHEN_ASKED_FOR) & set(report["loaded"])
    assert not set(FORBIDDEN) & set(report["loaded"])


def test_the_import_block_works():
    script = SCRIPT.replace("import cvforge_edge\n", "import torch\n", 1)
    arguments = [sys.executable, "-I", "-c", script, json.dumps(FORBIDDEN), str(EDGE)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "torch is not there on a device" in run.stderr
