"""Options of run_camera.py that cannot all be meant are refused before anything is opened; none is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvforge_edge.camera_options import parse_options
from cvforge_edge.errors import UsageError

RUN = ["--bundle", "b", "--source", "0"]


def refusal(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parse_options(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_threads_that_are_measured_and_sessions_that_are_given_do_not_go_together(capsys):
    assert "--threads auto measures" in refusal(capsys, *RUN, "--threads", "auto", "--sessions", "3")
    assert parse_options([*RUN, "--threads", "2", "--sessions", "3"]).sessions == 3
    assert parse_options([*RUN, "--threads", "auto"]).threads == "auto"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rules", "nope.yaml"),
        ("--roi", "9"),
        ("--every", "2"),
        ("--sessions", "2"),
        ("--threads", "auto"),
        ("--score-threshold", "0.5"),
        ("--track",),
        ("--classes", "red"),
        ("--max-frames", "3"),
        ("--limit", "memory=100"),
        ("--camera-size", "640x480"),
        ("--connect-for", "inf"),
        ("--mask-opacity", "0.5"),
        ("--show",),
        ("--json", "-"),
        ("--csv", "a"),
        ("--queue", "q"),
        ("--mqtt", "mqtt://h/t"),
        ("--evidence", "e"),
    ],
)
def test_a_self_test_alone_refuses_what_means_nothing_to_it(capsys, arguments):
    option = " ".join(arguments) if arguments[0] == "--threads" else arguments[0]
    assert f"{option}: needs a --source" in refusal(capsys, "--bundle", "b", "--self-test", *arguments)


def test_a_self_test_alone_names_all_that_means_nothing_to_it(capsys):
    text = refusal(capsys, "--bundle", "b", "--self-test", "--rules", "r", "--roi", "9", "--web")
    assert "--roi, --web, --rules: need a --source" in text


def test_a_self_test_alone_takes_what_belongs_to_it():
    own = ["--backend", "litert", "--precision", "int8", "--threads", "2", "--cpus", "0", "--log", "l", "--quiet"]
    assert parse_options(["--bundle", "b", "--self-test", *own, "--trust", "t", "--accepted", "a"]).self_test


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--json", "x", "--log", "x"), "--log x: is also the place of --json"),
        (("--json", "x", "--log", "./a/../x"), "--log ./a/../x: is also the place of --json"),
        (("--csv", "x", "--log", "link"), "--log link: is also the place of --csv"),
        (("--json", "-", "--csv", "-"), "--csv -: is also the place of --json"),
        (("--save", "out.mp4", "--csv", "out.mp4"), "--save out.mp4: is also the place of --csv"),
        (("--save", "e/", "--evidence", "e"), "--evidence e: is also the place of --save"),
        (("--mqtt", "mqtt://h/t", "--queue", "e", "--evidence", "e/"), "--evidence e: is also the place of --queue"),
        (("--trust", "keys", "--accepted", "x", "--log", "x"), "--accepted x: is also the place of --log"),
        (("--rules", "x", "--json", "x"), "--json x: is also the place of --rules"),
        (("--evidence", "b"), "--evidence b: is also the place of --bundle"),
        (("--source", "clip.mp4", "--log", "clip.mp4"), "--log clip.mp4: would replace the source"),
        (("--source", "door=clip.mp4", "--csv", "clip.mp4"), "--csv clip.mp4: would replace the source"),
        (("--source", "clip.mp4", "--json", "clip.mp4"), "--json clip.mp4: would replace the source"),
        (("--webhook", "@hook", "--log", "hook"), "--log hook: is also the place of --webhook"),
        (("--log", "x", "--json", "x.3"), "--log x: is set aside as x.3, the place of --json"),
        (
            ("--log", "x", "--accepted", "x.1", "--trust", "keys"),
            "--accepted x.1: is also the place of what --log sets",
        ),
    ],
)
def test_no_two_options_share_a_place(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("x")
    Path("clip.mp4").write_bytes(b"frames")
    with pytest.raises(UsageError, match="give each its own|write to another place") as caught:
        parse_options([*RUN, *arguments])
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--csv", "r", "--json", "r.1"), "--csv r: is set aside as r.1, the place of --json"),
        (("--json", "r", "--csv", "r.5"), "--csv r.5: is also the place of what --json sets aside"),
        (
            ("--json", "r", "--csv", "r.7", "--rotate-keep", "7"),
            "--csv r.7: is also the place of what --json sets aside",
        ),
        (("--save", "v.mp4", "--csv", "v.2.mp4"), "--save v.mp4: is set aside as v.2.mp4, the place of --csv"),
        (
            ("--save", "clip.mp4", "--source", "clip.1.mp4"),
            "--save clip.mp4: is set aside as clip.1.mp4, the place of the s",
        ),
    ],
)
def test_nothing_is_set_aside_where_something_else_goes(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("clip.1.mp4").write_bytes(b"frames")
    with pytest.raises(UsageError, match="give each its own") as caught:
        parse_options([*RUN, *arguments, "--rotate", "1"])
    assert words in str(caught.value)
    parse_options([*RUN, "--json", "r", "--csv", "r.6", "--rotate", "1"])
    if "--rotate-keep" not in arguments and "--source" not in arguments:
        parse_options([*RUN, *arguments])


@pytest.mark.parametrize("option", ["--json", "--csv", "--log", "--save", "--evidence", "--queue"])
def test_nothing_is_written_into_the_bundle(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    Path("current").symlink_to("b")
    for place in ("b/manifest.json", "b/deep/er", "current/x"):
        with pytest.raises(UsageError, match=f"{option} {place}: lies in the bundle") as caught:
            parse_options([*RUN, option, place])
        assert caught.value.exit_code == 2
    parse_options([*RUN, "--json", "bb/x"])


def test_devices_and_standard_output_beside_files_may_be_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parse_options([*RUN, "--json", "/dev/null", "--csv", "/dev/null", "--log", "/dev/null"])
    parse_options([*RUN, "--json", "-", "--csv", "a", "--save", "pictures/", "--log", "c", "--evidence", "d"])
