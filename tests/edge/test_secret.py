"""Secrets come from the environment or a file, whole or not at all."""

from __future__ import annotations

import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.secret import read_secret

NAME = "CVFORGE_TEST_SECRET"


def test_a_secret_comes_from_the_environment_or_from_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv(NAME, raising=False)
    assert read_secret(NAME) is None
    monkeypatch.setenv(NAME, "pässword with space ")
    assert read_secret(NAME) == "pässword with space "
    monkeypatch.delenv(NAME)
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))
    assert read_secret(NAME) == "from a file"


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"carriage return\r\n", b"\xff\xfe", b"x" * 5000])
def test_a_file_that_holds_no_secret_is_refused_with_code_2_and_not_shown(monkeypatch, tmp_path, content):
    (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))
    with pytest.raises(UsageError, match=f"{NAME}_FILE=") as caught:
        read_secret(NAME)
    assert caught.value.exit_code == 2
    assert "two" not in str(caught.value)


def test_a_missing_file_and_two_sources_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="no such file"):
        read_secret(NAME)
    monkeypatch.setenv(NAME, "x")
    with pytest.raises(UsageError, match="both set"):
        read_secret(NAME)
