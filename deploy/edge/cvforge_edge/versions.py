"""A model never goes back: the newest version of each name that this device has accepted, kept across restarts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cvforge_edge.draft_folder import flush
from cvforge_edge.errors import SignatureError, StorageError
from cvforge_edge.manifest import name_problems
from cvforge_edge.plain_file import read_plain_file
from cvforge_edge.strict_json import Fields, format_json, parse_strict

RECORD_NAME = "accepted_versions.json"
MAX_RECORD_BYTES = 1024 * 1024


def default_record_path() -> Path:
    """Where the record lies: the folder that systemd gives a service, else the user's folder for states.

    Source: systemd.exec(5), STATE_DIRECTORY; XDG base directory specification, XDG_STATE_HOME.
    """
    service = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if service:
        return Path(service) / RECORD_NAME
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "cvforge" / RECORD_NAME


def check_not_older(installed: int | None, offered: int, *, name: str) -> None:
    """Refuse to go back to a release whose faults are known, even though its signature is good.

    Args:
        installed: newest version of the model that was accepted; None before the first.
        offered: version of the bundle at hand.
        name: of the model, for the message.

    Raises:
        SignatureError: the offered version is lower.
    """
    if installed is not None and offered < installed:
        raise SignatureError(
            f"model {name!r}: version {offered} is older than version {installed}, which this device has accepted "
            f"already; export it again with a --model-version of at least {installed}"
        )


def accepted_version(path: Path | str, name: str) -> int | None:
    """The newest version of a model that was accepted, or None.

    Raises:
        StorageError: the record is damaged; guessing would open the door to old versions.
    """
    return _read(Path(path)).get(name)


def accept_version(path: Path | str, name: str, version: int) -> None:
    """Note that a version of a model is in use, in one step that a power cut cannot tear.

    Raises:
        SignatureError: a newer one was accepted already.
        StorageError: the record is damaged or cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            versions = _read(path)
            check_not_older(versions.get(name), version, name=name)
            if versions.get(name) != version:
                _write(path, {**versions, name: version})
    except OSError as error:
        raise StorageError(
            f"{path}: the record of accepted versions cannot be written ({error.strerror}); give another --accepted FILE"
        ) from None


def _read(path: Path) -> dict[str, int]:
    try:
        value = parse_strict(read_plain_file(path, limit_bytes=MAX_RECORD_BYTES).decode("utf-8"))
        problems: list[str] = []
        versions = Fields({"versions": value}, key="", problems=problems).mapping("versions", int, "a whole number")
        if versions is None or any(version < 1 or name_problems(name) for name, version in versions.items()):
            raise ValueError("; ".join(problems) or "expected names of models with versions of at least 1")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StorageError(
            f"{path}: the record of accepted versions is damaged ({error}); restore it, or remove it if older versions "
            "of the models on this device may be accepted again"
        ) from None
    return versions


def _write(path: Path, versions: dict[str, int]) -> None:
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        file.write(format_json(versions))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    flush(path.parent)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two cameras of one device note their models one after the other."""
    import fcntl  # POSIX only, like the rest of what runs as a service

    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
