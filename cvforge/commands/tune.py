"""A search from its command line to its table: check everything, run the trials, say what was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cvforge.callbacks.interrupt import StopRequest
from cvforge.commands.terminal import rows_table, stderr_console, stdout_console
from cvforge.config.schema import Config
from cvforge.errors import InterruptedRunError
from cvforge.tasks.hardware import physical_cores
from cvforge.tune.draw import check_sampler, grid_size
from cvforge.tune.edges import check_edges
from cvforge.tune.gather import Gathered, gather_space
from cvforge.tune.pool import run_workers
from cvforge.tune.report import columns, trial_row, write_report
from cvforge.tune.search import Search
from cvforge.tune.study import PRIMARY, begin_study, check_first, optuna, places
from cvforge.tune.summary import BEST, TrialRecord, best_first, importances, records, write_best

ROOT = Path("tuning")
SHOWN = 5
ENDED = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Options:
    """What the command line says beside config and space.

    Attributes:
        study: folder, or None for `tuning/<run.name>`.
        trials, workers, seed, keep: as in `Search`.
        timeout_s: or None.
        sampler, pruner: names.
        check: only report problems.
    """

    study: Path | None
    trials: int | None
    workers: int
    timeout_s: float | None
    seed: int
    sampler: str
    pruner: str
    keep: int
    check: bool


DEFAULT_TRIALS = 20


def tune(config: str, words: list[str], space: str | None, options: Options) -> int:
    """Run or continue a search.

    Raises:
        ConfigError: config, space or options do not fit, or the folder holds another study; nothing was started.
        TuningError: the first trials all failed.
        InterruptedRunError: the user stopped it; the same command continues.
    """
    gathered = gather_space(words, space)
    check_sampler(options.sampler, gathered.parameters)
    first = check_edges(config, gathered.overrides, gathered.parameters)
    if options.check:
        print(f"{config}: OK, searches {', '.join(p.key for p in gathered.parameters)}")
        return 0
    search = _search(config, gathered, first, options)
    study = begin_study(search, first)
    print(f"study: {search.path} (SQLite: study.db), {len(places(study))} of {search.trials} trials begun before")
    for key in gathered.set_aside:
        print(f"{key}: one value on the command line, so it is not searched")
    stop = StopRequest()
    with stop.listening(), _progress(study, search) as watch:
        late = run_workers(search, workers=options.workers, timeout_s=options.timeout_s, stop=stop, watch=watch)
        check_first(places(study), since=search.since)
    _say(study, search, stopped=stop.asked, late=late)
    if stop.asked:
        raise InterruptedRunError("stopped; the same command continues the search, and the trials that were running")
    return 0


def _search(config: str, gathered: Gathered, first: Config, options: Options) -> Search:
    searched = [parameter.key for parameter in gathered.parameters]
    trials = options.trials or DEFAULT_TRIALS
    if options.sampler == "grid":
        trials = min(options.trials or grid_size(gathered.parameters), grid_size(gathered.parameters))
    counted = first.trainer.max_steps < 0 and not {"trainer.max_epochs", "trainer.max_steps"} & set(searched)
    shared = options.workers > 1 and first.trainer.threads is None
    return Search(
        folder=str(options.study or ROOT / first.run.name),
        config=config,
        overrides=tuple(gathered.overrides),
        space={parameter.key: parameter.written for parameter in gathered.parameters},
        trials=trials,
        sampler=options.sampler,
        pruner=options.pruner,
        seed=options.seed,
        keep=options.keep,
        max_epochs=first.trainer.max_epochs if counted else None,
        threads=max(1, physical_cores() // options.workers) if shared else None,
        since=datetime.now().isoformat(),
    )


@contextmanager
def _progress(study: optuna.Study, search: Search) -> Iterator:
    """Gives a function that shows where the search stands: a bar on a terminal, else a line for each trial that ends."""
    console = stderr_console()
    bar_columns = (
        TextColumn("trials", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*bar_columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=search.trials)
        told = {record.number for record in records(study, search) if record.state in ENDED}

        def watch() -> None:
            found = records(study, search)
            best = best_first(found)
            ended = [record for record in found if record.state in ENDED]
            progress.update(task, completed=len(ended), description=_standing(found, best))
            for record in ended:
                if record.number not in told:
                    told.add(record.number)
                    progress.console.print(_ended(record, best), markup=False, highlight=False, soft_wrap=True)

        yield watch
        watch()


def _standing(found: list[TrialRecord], best: list[TrialRecord]) -> str:
    parts = [f"best {best[0].score:.4f} (trial {best[0].number})"] if best else []
    for record in found:
        if record.state == "running":
            where = f", epoch {record.history[-1][0]}: {record.history[-1][1]:.4f}" if record.history else ""
            parts.append(f"trial {record.number} running{where}")
    return "  ".join(parts)


def _ended(record: TrialRecord, best: list[TrialRecord]) -> str:
    score = "" if record.score is None else f" {record.score:.4f}"
    reason = f" ({record.reason.splitlines()[0]})" if record.reason else ""
    leading = f"; best {best[0].score:.4f}, trial {best[0].number}" if best else ""
    return f"trial {record.number}: {record.state}{score}{reason}  {' '.join(record.overrides)}{leading}"


def _say(study: optuna.Study, search: Search, *, stopped: bool, late: bool) -> None:
    found = records(study, search)
    primary = study.user_attrs.get(PRIMARY, "score")
    best = write_best(study, search, primary=primary)
    page = write_report(study, search)
    counts = {state: sum(record.state == state for record in found) for state in (*ENDED, "running", "interrupted")}
    print(", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no trials")
    if late:
        print("the time is up; the same command, or one with more time, continues")
    if best is None:
        print("no trial is complete yet")
        return
    console = stdout_console()
    console.print(
        rows_table("best trials", columns(search, primary), [trial_row(r) for r in best_first(found)[:SHOWN]])
    )
    shares = importances(study)
    if shares:
        rows = [[key, f"{share:.0%}"] for key, share in shares.items()]
        console.print(rows_table("what mattered", ["parameter", "share"], rows))
    print(f"best run:  {search.path / best.run}")
    print(f"config:    {search.path / BEST}")
    print(f"page:      {page}")
    print(search.command(best.overrides))
