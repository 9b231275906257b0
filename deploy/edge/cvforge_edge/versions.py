"""A model never goes back: the newest release of each name that this device has accepted, kept across restarts."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.draft_folder import flush
from cvforge_edge.errors import SignatureError, StorageError
from cvforge_edge.manifest import name_problems
from cvforge_edge.plain_file import read_plain_file
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields, format_json, parse_strict

if TYPE_CHECKING:
    from cvforge_edge.bundle import Bundle

RECORD_NAME = "accepted_versions.json"
MAX_RECORD_BYTES = 1024 * 1024
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Release:
    """One state of a model.

    Attributes:
        version: at least 1.
        manifest_sha256: of its `manifest.json`, which lists the checksum of every other file: 64 hexadecimal digits.
    """

    version: int
    manifest_sha256: str

    @classmethod
    def of(cls, bundle: Bundle) -> Release:
        """The release that a checked bundle holds."""
        return cls(bundle.manifest.version, bundle.manifest_sha256)


def default_record_path() -> Path:
    """Where the record lies: the folder that systemd gives a service, else the user's folder for states.

    Source: systemd.exec(5), STATE_DIRECTORY; XDG base directory specification, XDG_STATE_HOME.
    """
    service = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if service:
        return Path(service) / RECORD_NAME
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "cvforge" / RECORD_NAME


def check_not_older(accepted: Release | None, offered: Release, *, name: str) -> None:
    """Refuse to go back to a release whose faults are known, even though its signature is good.

    Two releases of one version cannot be told apart by age, so the one that was accepted first stays.

    Args:
        accepted: newest release of the model so far; None before the first.
        offered: the bundle at hand.
        name: of the model, for the message.

    Raises:
        SignatureError: the offered version is lower, or the same with other content.
    """
    if accepted is None or offered.version > accepted.version or offered == accepted:
        return
    if offered.version < accepted.version:
        problem = f"version {offered.version} is older than version {accepted.version}, which"
    else:
        problem = f"this is not the version {offered.version} that"
    raise SignatureError(
        f"model {name!r}: {problem} this device has accepted already; export it again with a --model-version of at least "
        f"{accepted.version + 1}"
    )


def accepted_release(path: Path | str, name: str) -> Release | None:
    """The newest release of a model that was accepted, or None.

    Raises:
        StorageError: the record is damaged; guessing would open the door to old versions.
    """
    return _read(Path(path)).get(name)


def accept_release(path: Path | str, name: str, release: Release) -> None:
    """Note that a release of a model is in use, in one step that a power cut cannot tear.

    Raises:
        SignatureError: a newer one, or another of the same version, was accepted already.
        StorageError: the record is damaged or cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            releases = _read(path)
            check_not_older(releases.get(name), release, name=name)
            if releases.get(name) != release:
                _write(path, {**releases, name: release})
    except OSError as error:
        raise StorageError(
            f"{path}: the record of accepted versions cannot be written ({error.strerror}); give another --accepted FILE"
        ) from None


def _read(path: Path) -> dict[str, Release]:
    try:
        value = parse_strict(read_plain_file(path, limit_bytes=MAX_RECORD_BYTES).decode("utf-8"))
        problems: list[str] = []
        models = Fields({"models": value}, key="", problems=problems).mapping("models", dict, "an object")
        releases = {name: _release(fields, name, problems) for name, fields in (models or {}).items()}
        if problems:
            raise ValueError("; ".join(problems))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StorageError(
            f"{path}: the record of accepted versions is damaged ({error}); restore it, or remove it if older versions "
            "of the models on this device may be accepted again"
        ) from None
    return {name: release for name, release in releases.items() if release is not None}


def _release(value: dict[str, object], name: str, problems: list[str]) -> Release | None:
    problems += name_problems(name)
    fields = Fields(value, key=name, problems=problems)
    version, sha256 = fields.integer("version", low=1), fields.text("manifest_sha256")
    fields.finish()
    if sha256 is not None and not SHA256.fullmatch(sha256):
        fields.problem(f"{name}.manifest_sha256: expected 64 hexadecimal digits")
    return None if version is None or sha256 is None else Release(version, sha256)


def _write(path: Path, releases: dict[str, Release]) -> None:
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        file.write(format_json({name: vars(release) for name, release in releases.items()}))
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
