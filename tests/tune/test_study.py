"""The study itself, on a real SQLite file: who gets which trial, what becomes of those whose process died, what stays."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from datetime import datetime
from functools import cache
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from cvforge.config.load import load
from cvforge.config.schema import Config
from cvforge.errors import ConfigError, TuningError
from cvforge.runs import Run
from cvforge.tune.kept import keep_best
from cvforge.tune.locks import is_alive, worker_lock
from cvforge.tune.search import Search, search_from_json
from cvforge.tune.study import INTERRUPTED, REASON, RUN, begin_study, claim, open_study, places
from cvforge.tune.summary import records

SPACE = {"optim.lr": "tag(log, interval(1e-4, 1e-2))", "model": "classifier_nano,classifier_lite0"}
DEAD = "1-dead"


def a_search(folder: Path, **changes: object) -> Search:
    made = Search(
        folder=str(folder),
        config="cls_demo",
        overrides=(),
        space=SPACE,
        trials=6,
        sampler="tpe",
        pruner="median",
        seed=0,
        keep=2,
        max_epochs=8,
        threads=None,
        since=datetime.now().isoformat(),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def begin(search: Search) -> optuna.Study:
    first = tuple(p.override(p.values.edges[0]) for p in search.parameters)
    return begin_study(search, loaded(search.config, (*search.overrides, *first)))


@cache
def loaded(config: str, overrides: tuple[str, ...]) -> Config:
    return load(config, list(overrides))


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return a_search(tmp_path / "study")


def test_a_search_survives_the_way_to_its_processes(search: Search) -> None:
    assert search_from_json(search.to_json()) == search


def test_the_first_trial_has_the_values_of_the_config_and_the_others_are_drawn(search: Search) -> None:
    study = begin(search)
    first = claim(study, search, worker=DEAD)
    assert first is not None
    study.tell(first, 0.5)
    second = claim(study, search, worker=DEAD)
    assert second is not None
    assert first.params == {"optim.lr": 2e-3, "model": "classifier_lite0"}
    assert second.params["optim.lr"] != 2e-3
    assert first.user_attrs[RUN] == "trials/000"


def test_what_is_drawn_depends_on_the_seed_and_the_number_alone(tmp_path: Path) -> None:
    def drawn(folder: str, seed: int, stops: bool) -> list[float]:
        search = a_search(tmp_path / folder, seed=seed, sampler="random")
        study = begin(search)
        found = []
        with worker_lock(search.path) as name:
            for _ in range(4):
                trial = claim(open_study(search) if stops else study, search, worker=name)
                assert trial is not None
                found.append(trial.params["optim.lr"])
                study.tell(trial, 0.5)
        return found

    assert drawn("a", 0, stops=False) == drawn("b", 0, stops=True)
    assert drawn("c", 1, stops=False)[1:] != drawn("d", 0, stops=False)[1:]


def test_no_more_trials_are_handed_out_than_asked_for_over_all_calls(search: Search) -> None:
    study = begin(search)
    with worker_lock(search.path) as name:
        for _ in range(4):
            trial = claim(study, search, worker=name)
            assert trial is not None
            study.tell(trial, 0.5)
        again = dataclasses.replace(search, trials=5)
        study = begin(again)
        last = claim(study, again, worker=name)
        assert last is not None
        study.tell(last, 0.5)
        assert claim(study, again, worker=name) is None


def test_a_grid_is_worked_through_and_can_be_continued(tmp_path: Path) -> None:
    space = {"optim.lr": "choice(0.001, 0.002)", "data.batch_size": "range(8, 25, step=8)"}
    search = a_search(tmp_path / "grid", space=space, sampler="grid", trials=4)
    more = dataclasses.replace(search, trials=6)
    found = []
    for wanted in (search, more):
        study = begin(wanted)
        while (trial := claim(study, wanted, worker=DEAD)) is not None:
            found.append(tuple(trial.params.values()))
            study.tell(trial, 0.5)
    assert found == [(lr, size) for lr in ("0.001", "0.002") for size in (8, 16, 24)]


def test_a_study_of_something_else_is_refused_with_what_differs(search: Search) -> None:
    begin(search)
    begin(dataclasses.replace(search, trials=50, pruner="none", overrides=("data.num_workers=0",)))
    other = dataclasses.replace(search, overrides=("trainer.max_epochs=3", "data.num_workers=0"))
    with pytest.raises(
        ConfigError, match=r"another folder with --study(.|\n)*trainer.max_epochs: value 3, in the study 8"
    ):
        begin(other)
    wider = dataclasses.replace(search, space={**SPACE, "optim.lr": "interval(0.1, 0.2)"})
    with pytest.raises(ConfigError, match=r"optim.lr: range interval\(0.1, 0.2\), in the study tag"):
        begin(wider)


def test_a_folder_with_other_files_is_refused(search: Search) -> None:
    search.path.mkdir()
    (search.path / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds other files and no study"):
        begin(search)


HOLDER = """
import sys, time
from pathlib import Path
from cvforge.tune.locks import worker_lock
with worker_lock(Path(sys.argv[1])) as name:
    print(name, flush=True)
    time.sleep(600)
"""


def test_a_worker_is_alive_until_its_process_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert is_alive(tmp_path, name)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_alive(tmp_path, name)
    assert not is_alive(tmp_path, "never-there")
    assert list((tmp_path / "workers").iterdir()) == []


def test_the_trial_of_a_killed_process_is_begun_again_in_its_place_with_what_it_had(search: Search) -> None:
    study = begin(search)
    killed = claim(study, search, worker=DEAD)
    assert killed is not None
    killed.report(0.4, 1)
    again = claim(study, search, worker=DEAD)
    assert again is not None
    assert (again.number, again.params, again.user_attrs[RUN]) == (1, killed.params, "trials/000")
    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[1].intermediate_values == {1: 0.4}
    assert [t.number for t in places(study)] == [1]


def test_a_trial_of_a_living_process_is_left_alone(search: Search) -> None:
    study = begin(search)
    code = [sys.executable, "-c", HOLDER, str(search.path)]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = claim(study, search, worker=process.stdout.readline().strip())
        second = claim(study, search, worker=DEAD)
        assert first is not None
        assert second is not None
        assert second.number == 1
        assert second.user_attrs[RUN] == "trials/001"
        assert [r.state for r in records(study, search)] == ["running", "interrupted"]
        process.kill()


def test_a_trial_whose_process_is_killed_three_times_counts_as_failed(search: Search) -> None:
    study = begin(search)
    for _ in range(4):
        claim(study, search, worker=DEAD)
    found = places(study)
    assert [(t.number, t.state) for t in found] == [(2, TrialState.FAIL), (3, TrialState.RUNNING)]
    assert found[0].user_attrs[REASON] == "its process was killed 3 times; not enough memory?"
    assert found[1].user_attrs[RUN] == "trials/003"


def test_stopping_by_hand_is_not_held_against_a_trial(search: Search) -> None:
    study = begin(search)
    for _ in range(5):
        trial = claim(study, search, worker=DEAD)
        assert trial is not None
        assert trial.user_attrs[RUN] == "trials/000"
        trial.set_user_attr(INTERRUPTED, True)


def test_a_search_ends_when_its_first_trials_all_fail_and_begins_anew_when_called_again(search: Search) -> None:
    study = begin(search)
    for number in range(3):
        trial = claim(study, search, worker=DEAD)
        assert trial is not None
        trial.set_user_attr(REASON, f"reason {number}")
        study.tell(trial, state=TrialState.FAIL)
    with pytest.raises(TuningError, match=r"the first 3 trials all failed(.|\n)*trial 2: reason 2"):
        claim(study, search, worker=DEAD)
    later = dataclasses.replace(search, since=datetime.now().isoformat())
    trial = claim(study, later, worker=DEAD)
    assert trial is not None
    study.tell(trial, 0.5)
    for _ in range(2):
        trial = claim(study, later, worker=DEAD)
        study.tell(trial, state=TrialState.FAIL)
    assert claim(study, dataclasses.replace(later, trials=9), worker=DEAD) is not None


def test_checkpoints_stay_for_the_best_trials_only(search: Search) -> None:
    study = begin(search)
    for value in (0.5, 0.9, 0.7, None, 0.8):
        trial = claim(study, search, worker=DEAD)
        assert trial is not None
        run = Run(search.path / trial.user_attrs[RUN])
        (run.dir / "checkpoints").mkdir(parents=True)
        for path in (run.best_checkpoint, run.last_checkpoint, run.log):
            path.touch()
        study.tell(trial, value, state=TrialState.COMPLETE if value else TrialState.PRUNED)
        keep_best(study, search)
    left = sorted(str(path.relative_to(search.path)) for path in search.path.rglob("*.ckpt"))
    assert left == ["trials/001/checkpoints/best.ckpt", "trials/004/checkpoints/best.ckpt"]
    assert len(list(search.path.rglob("log.txt"))) == 5


def test_the_checkpoints_of_a_running_trial_are_left_alone(search: Search) -> None:
    study = begin(search)
    trial = claim(study, search, worker=DEAD)
    assert trial is not None
    run = Run(search.path / trial.user_attrs[RUN])
    (run.dir / "checkpoints").mkdir(parents=True)
    run.last_checkpoint.touch()
    keep_best(study, search)
    assert run.last_checkpoint.exists()


@pytest.mark.slow
def test_two_processes_that_begin_at_once_share_one_study(search: Search) -> None:
    code = (
        "import sys; from cvforge.tune.search import search_from_json; from cvforge.tune.study import *\n"
        "from cvforge.config.load import load; s = search_from_json(sys.argv[1])\n"
        "study = begin_study(s, load('cls_demo', ['optim.lr=0.0001', 'model=classifier_nano']))\n"
        "from cvforge.tune.locks import worker_lock\n"
        "with worker_lock(s.path) as name:\n"
        "    while (trial := claim(study, s, worker=name)) is not None: study.tell(trial, 0.1)\n"
    )
    started = time.monotonic()
    processes = [subprocess.Popen([sys.executable, "-c", code, search.to_json()]) for _ in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0], time.monotonic() - started
    numbers = [trial.number for trial in open_study(search).trials]
    assert numbers == list(range(6))
