"""Private keys stay private, and what they sign is what devices accept."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import REPOSITORY, load_tool
from cvforge.cli import run_command
from cvforge.errors import ConfigError, RunExistsError, StorageError
from cvforge.export.sign import make_key, read_key
from cvforge_edge.bundle import open_bundle
from cvforge_edge.trust import read_trust
from cvforge_edge.types import Task
from edge.conftest import build_bundle
from export.tiny import export_tiny, tiny_plan

SECRET = "correct horse"
ONNX_PLAN = tiny_plan(Task.CLASSIFICATION, formats=("onnx",), precisions=("fp32",))


@pytest.fixture
def signable(tmp_path: Path) -> Path:
    """An unsigned bundle."""
    return build_bundle(tmp_path / "signable", "detector", formats=("onnx",), golden=True)


@pytest.fixture
def tool(capsys, monkeypatch, tmp_path):
    """Runs tools/export.py in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CVFORGE_KEY_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = run_command(load_tool("export").main, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_files_of_a_new_key_are_for_their_owner_and_for_everybody(tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys" / "team-a.key", passphrase=None)
    assert stat.S_IMODE((tmp_path / "keys" / "team-a.key").stat().st_mode) == 0o600
    (trusted,) = read_trust(tmp_path / "keys").keys
    assert (trusted.name, trusted.key_id, trusted.public_key) == ("team-a", key.key_id, key.public_key)
    assert read_key(tmp_path / "keys" / "team-a.key", passphrase=None).key_id == key.key_id


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    make_key(tmp_path / "a.key", passphrase=None)
    before = (tmp_path / "a.key").read_bytes()
    with pytest.raises(RunExistsError, match="never overwritten"):
        make_key(tmp_path / "a.key", passphrase=None)
    (tmp_path / "b.pub").write_text("somebody's")
    with pytest.raises(RunExistsError, match=r"b\.pub exists"):
        make_key(tmp_path / "b.key", passphrase=None)
    assert not (tmp_path / "b.key").exists()
    assert (tmp_path / "a.key").read_bytes() == before


def test_a_key_is_refused_where_git_would_carry_it_away(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inside the git repository"):
        make_key(REPOSITORY / "team.key", passphrase=None)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("private/\n")
    with pytest.raises(ConfigError, match="inside the git repository"):
        make_key(tmp_path / "deep" / "er" / "a.key", passphrase=None)
    make_key(tmp_path / "private" / "a.key", passphrase=None)
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("name", ["a", "a.pem", ".key", "a b.key", "a.key/"])
def test_a_name_that_is_no_key_is_refused(tmp_path: Path, name: str) -> None:
    if name == "a.key/":
        (tmp_path / "a.key").mkdir()
        with pytest.raises(RunExistsError):
            make_key(tmp_path / name, passphrase=None)
        return
    with pytest.raises(ConfigError, match=r"expected a name such as keys/team-a\.key"):
        make_key(tmp_path / name, passphrase=None)


def test_a_passphrase_is_needed_and_shown_nowhere(tool, tmp_path: Path, monkeypatch, signable) -> None:
    monkeypatch.setenv("CVFORGE_KEY_PASSPHRASE", SECRET)
    code, out, err = tool("keygen", "--output", "k.key")
    assert code == 0, err
    assert "k.key (encrypted)" in out
    text = (tmp_path / "k.key").read_text()
    assert "ENCRYPTED PRIVATE KEY" in text
    assert SECRET not in text + out + err
    assert SECRET not in repr(read_key(tmp_path / "k.key", passphrase=SECRET.encode()))
    monkeypatch.setenv("CVFORGE_KEY_PASSPHRASE", "wrong")
    assert tool("sign", "--bundle", signable, "--key", "k.key")[::2] == (
        2,
        "error: --key k.key: wrong passphrase, or damaged\n",
    )
    monkeypatch.delenv("CVFORGE_KEY_PASSPHRASE")
    code, _, err = tool("sign", "--bundle", signable, "--key", "k.key")
    assert (code, "set CVFORGE_KEY_PASSPHRASE, or run this at a terminal" in err) == (2, True)
    assert not (signable / "signature.json").exists()
    monkeypatch.setenv("CVFORGE_KEY_PASSPHRASE", SECRET)
    assert tool("sign", "--bundle", signable, "--key", "k.key")[0] == 0


@pytest.mark.parametrize("kind", ["missing", "empty", "public", "curve"])
def test_what_is_no_signing_key_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.key"
    make_key(tmp_path / "good.key", passphrase=None)
    if kind == "public":
        path.write_bytes((tmp_path / "good.pub").read_bytes())
    elif kind == "curve":
        other = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(
            other.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    elif kind == "empty":
        path.write_bytes(b"")
    words = {"missing": "cannot be read", "curve": "not an ed25519 key"}.get(kind, "not a private key in PEM form")
    with pytest.raises(ConfigError, match=words):
        read_key(path, passphrase=None)


def test_a_key_that_others_can_read_is_noticed(tmp_path: Path, caplog) -> None:
    make_key(tmp_path / "a.key", passphrase=None)
    (tmp_path / "a.key").chmod(0o644)
    read_key(tmp_path / "a.key", passphrase=None)
    assert "other users of this machine can read this private key; run chmod 600" in caplog.text


def test_the_way_of_a_bundle_from_maker_to_device(tool, tmp_path: Path, signable) -> None:
    assert tool("keygen", "--output", "keys/team-a.key")[0] == 0
    assert tool("verify", "--bundle", signable, "--trust", "keys")[0] == 7
    assert tool("sign", "--bundle", signable, "--key", "keys/team-a.key")[0] == 0
    code, _, err = tool("sign", "--bundle", signable, "--key", "keys/team-a.key")
    assert (code, "is signed already; --force replaces the signature" in err) == (6, True)
    first = (signable / "signature.json").read_bytes()
    assert tool("sign", "--bundle", signable, "--key", "keys/team-a.key", "--force")[0] == 0
    assert (signable / "signature.json").read_bytes() == first  # ed25519 draws no random numbers
    code, out, _ = tool("verify", "--bundle", signable, "--trust", "keys/team-a.pub")
    assert code == 0
    assert "version 1: " in out
    assert "signed by team-a (" in out
    assert tool("pack", "--bundle", signable, "--output", "b.tar", "--trust", "keys")[0] == 0
    assert tool("pack", "--bundle", signable, "--output", "b.tar")[0] == 6
    assert tool("unpack", "--archive", "b.tar", "--output", "copy", "--trust", "keys")[0] == 0
    assert open_bundle("copy", trust=read_trust("keys")).manifest == open_bundle(signable).manifest
    tool("keygen", "--output", "others/team-b.key")
    code, _, err = tool("unpack", "--archive", "b.tar", "--output", "again", "--trust", "others")
    assert (code, "signed by unknown key" in err, Path("again").exists()) == (7, True, False)


def test_an_export_is_signed_as_its_last_step(tmp_path: Path) -> None:
    key = make_key(tmp_path / "a.key", passphrase=None)
    report = export_tiny(Task.CLASSIFICATION, tmp_path / "bundle", plan=ONNX_PLAN, keys=(key,))
    (signer,) = open_bundle(report.folder, trust=read_trust(tmp_path)).signers
    assert signer.key_id == key.key_id


def test_an_export_that_cannot_be_signed_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    key = make_key(tmp_path / "a.key", passphrase=None)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cvforge.export.sign.format_envelope", fail)
    with pytest.raises(StorageError):
        export_tiny(Task.CLASSIFICATION, tmp_path / "out" / "bundle", plan=ONNX_PLAN, keys=(key,))
    assert list((tmp_path / "out").iterdir()) == []
