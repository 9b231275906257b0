"""An ARM board without the board: Debian's Python for 64-bit ARM, run by QEMU, and a copy of the device folder.

Nothing of it is configured, mounted or registered: QEMU runs one program at a time (user mode), and a small script takes
the place of the board's `python3`, so that processes which a program starts run on the board, too. Files that the board
does not have are the host's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cvforge_edge.draft_folder import draft_path, remove, remove_abandoned_drafts

EDGE = Path(__file__).resolve().parents[1] / "deploy" / "edge"
EMULATOR = "qemu-aarch64-static"
RASPBERRY_PI_4, RASPBERRY_PI_5 = "cortex-a72", "cortex-a76"
BAD_BOARD = "max"
"""QEMU's own processor with every extension. Under QEMU 7.2, XNNPACK's int8 kernels compute wrongly on it, all else rightly."""
CACHE_VARIABLE = "CVFORGE_BOARD_CACHE"
SUITE = "bookworm"  # that of Raspberry Pi OS 12; Python 3.11, the last one that tflite-runtime has wheels for
ROOT_NAME = f"debian-{SUITE}-arm64-1"  # the number grows with the recipe below
PACKAGES = ("python3",)
WHEEL_PLATFORM = "aarch64-manylinux_2_36"  # glibc of the suite
EMULATOR_PINS = ("ai-edge-litert<=2.1.6",)
"""What the emulator can run: ai-edge-litert from 2.2 on crashes under QEMU 7.2, whatever the processor."""
TRUST_PACKAGE = "cryptography>=45"  # what README.md tells users of --trust to install
BUILD_LIMIT_S, RUN_LIMIT_S = 900, 600
LOG_LINES = 15


class BoardError(Exception):
    """The board cannot be built; the message says which step failed and how."""


@dataclass(frozen=True)
class Board:
    """A copy of the device folder with its own environment, on an emulated board.

    Attributes:
        folder: the copy; commands run in it.
        python: interpreter of the environment in it.
    """

    folder: Path
    python: Path

    def run(
        self, *arguments: object, cpu: str = RASPBERRY_PI_4, timeout_s: float = RUN_LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """`python3 ARGUMENTS` in the device folder, on a processor that QEMU knows by this name.

        Raises:
            subprocess.TimeoutExpired: it took longer.
        """
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONNOUSERSITE": "1",
            "QEMU_CPU": cpu,
        }
        return subprocess.run(
            [str(self.python), *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def obstacle() -> str | None:
    """Why no board can be built here; None where it can."""
    missing = [name for name in ("debootstrap", "dpkg-deb", EMULATOR) if shutil.which(name, path=_path()) is None]
    if missing:
        return f"an emulated board needs {', '.join(missing)}; on Debian: apt-get install debootstrap qemu-user-static"
    if find_spec("uv") is None:
        return "an emulated board needs uv, which picks wheels for another processor: pip install uv"
    if os.geteuid() != 0 and not _root_folder().is_dir():
        return f"debootstrap works for root only; build {_root_folder()} once as root, or set {CACHE_VARIABLE}"
    return None


def board_root() -> Path:
    """The file system of the board, built at the first call (about half a minute, 200 MB) and kept for later ones.

    It lies in the user's cache folder, or in the one that CVFORGE_BOARD_CACHE names. A killed build leaves nothing that
    a later call would take for a file system.

    Raises:
        BoardError: a package cannot be loaded or unpacked.
    """
    target = _root_folder()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned_drafts(target)
    draft = draft_path(target)
    try:
        _build_root(draft)
        if not target.is_dir():
            draft.rename(target)
    finally:
        remove(draft)
    return target


def set_up_board(folder: Path, requirements: str) -> Board:
    """Copy the device folder and install one of its requirement files, as README.md there tells users to.

    Args:
        folder: to be made.
        requirements: name of a requirement file in the device folder.

    Raises:
        BoardError: the file system cannot be built, or a requirement has no wheel for the board.
    """
    root = board_root()
    interpreter = _interpreter(root)
    shutil.copytree(EDGE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".venv"))
    environment = folder / ".venv"
    packages = environment / "lib" / interpreter.name / "site-packages"
    packages.mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    python = environment / "bin" / "python3"
    python.parent.mkdir()
    # With its own name (-0) Python finds the environment, and starts other processes of its kind by it.
    python.write_text(f'#!/bin/sh\nexec {EMULATOR} -0 "$0" -L "{root}" "{interpreter}" "$@"\n')
    python.chmod(0o755)
    pins = environment / "emulator-pins.txt"
    pins.write_text("".join(f"{pin}\n" for pin in EMULATOR_PINS))
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", packages, "--only-binary", ":all:"]
    command += ["--python-platform", WHEEL_PLATFORM, "--python-version", interpreter.name.removeprefix("python")]
    command += ["--constraint", pins, "--requirement", folder / requirements, TRUST_PACKAGE]
    _step(command, f"install {requirements}")
    return Board(folder, python)


def _build_root(folder: Path) -> None:
    command = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    _step([*command, SUITE, folder], "debootstrap")
    archives = folder / "var" / "cache" / "apt" / "archives"
    unpacked = set((folder / "debootstrap" / "required").read_text().split())
    for package in sorted(archives.glob("*.deb")):
        if package.name.partition("_")[0] not in unpacked:
            _unpack(package, folder)
        package.unlink()
    emulated = [EMULATOR, "-L", folder, _interpreter(folder), "-c", "import ctypes, hashlib, ssl, zlib"]
    _step(emulated, "start Python on the board")


def _unpack(package: Path, folder: Path) -> None:
    """What `dpkg-deb -x` does, but into folders that are links (/lib), which it would replace."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as archive:
        command = ["tar", "-x", "--keep-directory-symlink", "-C", folder]
        _step(command, f"unpack {package.name}", stdin=archive.stdout)
    if archive.returncode != 0:
        raise BoardError(f"{package.name}: dpkg-deb ended with code {archive.returncode}")


def _step(command: Sequence[object], title: str, **options: object) -> None:
    environment = {**os.environ, "PATH": _path(), "LC_ALL": "C", "UV_SYSTEM_CERTS": "1"}
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-LOG_LINES:])
        raise BoardError(f"emulated board: {title} ended with code {done.returncode}:\n{last}")


def _interpreter(root: Path) -> Path:
    """`python3` is a link to the versioned name, which also names the folder of its packages."""
    return root / "usr" / "bin" / (root / "usr" / "bin" / "python3").readlink().name


def _root_folder() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(named) if named else caches / "cvforge") / ROOT_NAME


def _path() -> str:
    """`debootstrap` lies where only the path of root leads."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
