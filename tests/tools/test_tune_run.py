"""Whole searches with real, tiny trainings: what they leave, how they are pruned, stopped, killed and continued."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from conftest import REPOSITORY, load_tool
from cvforge.callbacks.history import read_history
from cvforge.cli import run_command
from cvforge.config.load import load, load_resolved
from cvforge.runs import open_run
from cvforge.tune.draw import distributions
from cvforge.tune.search import Search
from cvforge.tune.study import REASON, RUN, begin_study, claim, open_study, places
from cvforge.tune.trial import TRIAL_FILE, run_trial

TINY = (
    "debug=tiny",
    "data.train.count=12",
    "data.val.count=8",
    "preprocess.size_hw=[32,32]",
    "model=classifier_nano",
    "trainer.precision=32-true",
    "trainer.threads=1",
)
LR = "optim.lr=tag(log, interval(1e-4, 1e-2))"
LIMIT_S = 900  # a busy machine needs minutes to import everything
DEAD = "1-dead"


def a_search(folder: Path, *overrides: str, **changes: object) -> Search:
    values: dict[str, object] = {
        "folder": str(folder),
        "config": "cls_demo",
        "overrides": (*TINY, *overrides),
        "space": {"optim.lr": LR.partition("=")[2]},
        "trials": 20,
        "sampler": "random",
        "pruner": "median",
        "seed": 0,
        "keep": 2,
        "max_epochs": 4,
        "threads": None,
        "since": "2026-01-01T00:00:00",
    }
    return Search(**{**values, **changes})  # type: ignore[arg-type]


def begin(search: Search) -> optuna.Study:
    lr = [p.override(p.values.edges[0]) for p in search.parameters]
    begin_study(search, load(search.config, [*search.overrides, *lr]))
    return open_study(search)


def one_trial(search: Search, study: optuna.Study) -> optuna.trial.FrozenTrial:
    trial = claim(study, search, worker=DEAD)
    assert trial is not None
    run_trial(study, trial, search)
    return study.trials[trial.number]


def test_a_trial_behind_the_median_of_others_ends_early_and_its_folder_says_so(tmp_path: Path) -> None:
    search = a_search(tmp_path / "study", "trainer.max_epochs=4")
    study = begin(search)
    for _ in range(4):  # better than anything can be
        better = {epoch: 1.0 + epoch for epoch in range(1, 5)}
        space = distributions(search.parameters)
        done = optuna.create_trial(
            value=5.0, params={"optim.lr": 1e-3}, distributions=space, intermediate_values=better
        )
        study.add_trial(done)
    ended = one_trial(search, study)
    run = open_run(search.path / ended.user_attrs[RUN])
    assert ended.state == TrialState.PRUNED
    assert json.loads(run.metrics.read_text())["epochs"] == 1
    assert list(ended.intermediate_values) == [1]
    said = json.loads((run.dir / TRIAL_FILE).read_text())
    assert (said["state"], said["reason"]) == ("pruned", "pruned after epoch 1 by median")
    assert said["params"] == [f"optim.lr={float(said['params'][0].partition('=')[2])}"]
    assert "given up after epoch 1" in run.log.read_text()
    assert not run.last_checkpoint.exists()


def test_a_trial_that_diverges_is_noted_with_its_reason_and_the_sampler_learns_of_it(tmp_path: Path) -> None:
    free = ("trainer.gradient_clip_norm=null", "trainer.max_epochs=4")
    search = a_search(tmp_path / "study", *free, space={"optim.lr": "choice(1e30,1e31)"})
    ended = one_trial(search, begin(search))
    assert ended.state == TrialState.PRUNED
    assert re.match("loss: (nan|inf) in batch", ended.user_attrs[REASON])
    assert json.loads((search.path / ended.user_attrs[RUN] / TRIAL_FILE).read_text())["state"] == "failed"


def test_a_trial_whose_values_cannot_work_fails_alone(tmp_path: Path) -> None:
    search = a_search(tmp_path / "study", space={"model.backbone": "choice(no_such_net,neither_this)"})
    ended = one_trial(search, begin(search))
    assert ended.state == TrialState.FAIL
    assert "no_such_net" in ended.user_attrs[REASON] or "neither_this" in ended.user_attrs[REASON]


def tune(*arguments: str) -> int:
    return run_command(load_tool("tune").main, arguments)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "tools/tune.py", "--config", "cls_demo", *TINY, LR, "--study", str(folder), *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not true():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def study_of(folder: Path) -> optuna.Study:
    return open_study(a_search(folder))


def has_checkpoint(folder: Path) -> bool:
    return any(folder.glob("trials/*/checkpoints/last.ckpt"))


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    return [int(word) for word in listed.stdout.split() if Path(f"/proc/{word}").exists()]


@pytest.mark.slow
def test_a_search_leaves_runs_a_config_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "study"
    arguments = ("--config", "cls_demo", *TINY, LR, "optim.warmup_epochs=interval(0, 1)", "--study", str(folder))
    assert tune(*arguments, "--trials", "5", "--keep", "1", "--pruner", "none") == 0
    out = capsys.readouterr().out
    study = study_of(folder)
    found = places(study)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 5
    best = min((-(t.value or 0), t.number) for t in found)[1]
    kept = [path.parents[1].name for path in folder.rglob("*.ckpt")]
    assert kept == [f"{best:03d}"]
    for trial in found:
        run = open_run(folder / trial.user_attrs[RUN])
        assert json.loads(run.metrics.read_text())["val"]["top1"] == trial.value
        assert load_resolved(run.config).run.seed == 0
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3 + 1 + 2  # legend, history (trials have one epoch), two parameters
    assert not re.search(r"(src|href)=\"?https?:", page)
    line = next(line for line in out.splitlines() if line.startswith("python tools/train.py"))
    by_hand = load(shlex.split(line)[3], shlex.split(line)[4:])
    of_file = load(str(folder / "best.yaml"), [])
    assert by_hand == of_file
    assert of_file.optim.lr == pytest.approx(found[best].params["optim.lr"], rel=1e-5)
    assert load_tool("evaluate").main([str(folder / f"trials/{best:03d}"), "--limit", "4"]) in (0, None)


@pytest.mark.slow
def test_two_processes_and_another_shell_share_one_study(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    first = start(folder, "--trials", "6", "--workers", "2")
    wait_until(lambda: has_checkpoint(folder), first)
    second = start(folder, "--trials", "6")
    texts = [process.communicate(timeout=LIMIT_S)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), texts
    found = places(study_of(folder))
    assert [t.number for t in found] == list(range(6))
    assert all(t.state.is_finished() for t in found)
    assert len({t.user_attrs["worker"] for t in found}) > 1
    assert sorted(path.name for path in (folder / "trials").iterdir()) == [f"{n:03d}" for n in range(6)]


@pytest.mark.slow
def test_a_killed_search_goes_on_from_the_checkpoint_of_its_trial(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    long = ("trainer.max_epochs=40", "--pruner", "none", "--trials", "2")
    process = start(folder, *long)
    wait_until(lambda: has_checkpoint(folder), process)
    process.send_signal(signal.SIGSTOP)  # else it might replace its worker before it is killed itself
    for pid in [*workers_of(process), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    done = start(folder, *long)
    out, _ = done.communicate(timeout=LIMIT_S)
    assert done.returncode == 0, out
    trials = study_of(folder).trials
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert trials[1].params == trials[0].params
    assert trials[1].user_attrs[RUN] == trials[0].user_attrs[RUN]
    run = open_run(folder / trials[1].user_attrs[RUN])
    assert "resuming from" in run.log.read_text()
    assert [row["epoch"] for row in read_history(run.history) if "val/top1" in row] == list(range(40))
    assert list(trials[1].intermediate_values) == list(range(1, 41))
    assert sorted(path.name for path in (folder / "trials").iterdir()) == ["000", "002"]


@pytest.mark.slow
def test_a_killed_process_is_replaced_while_the_search_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = start(folder, "trainer.max_epochs=20", "--trials", "2", "--pruner", "none")
    wait_until(lambda: has_checkpoint(folder), process)
    for pid in workers_of(process):
        os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out
    assert [t.state for t in places(study_of(folder))] == [TrialState.COMPLETE] * 2


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_after_the_step_and_the_same_command_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    long = ("trainer.max_epochs=40", "--pruner", "none", "--trials", "1")
    process = start(folder, *long)
    wait_until(lambda: has_checkpoint(folder), process)
    workers = workers_of(process)
    process.send_signal(how)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, out
    assert "1 interrupted" in out
    assert "the same command continues" in out
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    again = start(folder, *long)
    out, _ = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 0, out
    (trial,) = places(study_of(folder))
    assert trial.state == TrialState.COMPLETE
    assert "resuming from" in open_run(folder / trial.user_attrs[RUN]).log.read_text()


@pytest.mark.slow
def test_when_the_time_is_up_a_search_stops_and_can_go_on(tmp_path: Path) -> None:
    process = start(tmp_path / "study", "trainer.max_epochs=100000", "--pruner", "none", "--timeout", "5s")
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out
    assert "the time is up; the same command, or one with more time, continues" in out


@pytest.mark.slow
def test_the_processes_of_a_killed_search_stop_by_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = start(folder, "trainer.max_epochs=100000", "--pruner", "none")
    wait_until(lambda: has_checkpoint(folder), process)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    deadline_s = time.monotonic() + LIMIT_S
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


@pytest.mark.slow
def test_a_search_whose_first_trials_all_fail_ends_with_code_15(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ("--config", "cls_demo", *TINY, "model.backbone=choice(no_such_net,nor_this,nor_that,nor_those)")
    assert tune(*arguments, "--study", str(tmp_path / "study")) == 15
    assert "the first 3 trials all failed; the search ends here" in capsys.readouterr().err
