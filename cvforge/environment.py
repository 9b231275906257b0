"""What a run needs to be understood later: versions, machine, git state, command line."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "cvforge",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "segmentation-models-pytorch",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "pycocotools",
    "hotcoco",
)
SECRET = re.compile(r"(?i)((?:token|secret|password|passwd|api_?key|credential)[^=\s]*=)\S+")
URL_LOGIN = re.compile(r"(\w+://)[^/@\s]+@")
GIT_TIMEOUT_S = 10
REPOSITORY = Path(__file__).resolve().parent.parent


def describe_environment() -> dict[str, Any]:
    """Versions, machine, git state and command line, as plain values for JSON; secrets in the command line are masked."""
    return {
        "command": [without_secrets(argument) for argument in sys.argv],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": git_state(REPOSITORY),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out in a folder and whether files differ from it; None outside a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def without_secrets(argument: str) -> str:
    """A command-line argument with the values of passwords and tokens replaced by ***.

    >>> without_secrets("logging.mlflow_uri=https://me:pw@host/x")
    'logging.mlflow_uri=https://***@host/x'
    """
    return URL_LOGIN.sub(r"\1***@", SECRET.sub(r"\1***", argument))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):  # no git, no repository
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
