"""The page of a study: one file that shows what was tried, what was found and what mattered."""

from __future__ import annotations

from html import escape
from pathlib import Path

import optuna

from cvforge.html.page import Section, page, paragraph, table
from cvforge.tune.chart import legend
from cvforge.tune.pictures import courses, history, slices
from cvforge.tune.search import Search
from cvforge.tune.study import PRIMARY
from cvforge.tune.summary import TrialRecord, best_first, importances, records

PAGE = "report.html"
REASON_LENGTH = 90
TRIALS_TEXT = (
    "A pruned trial was given up because its score lay behind that of others at the same epoch; the score shown is its best. "
    "A failed one diverged, ran out of memory, or had values that do not go together. The folder of each trial is a run."
)
BEST_TEXT = (
    "The best score of many is too good by chance: on the images that chose it, it will not quite be reached by another seed. "
    "Train the best again with other seeds, and score it on a test set, which no trial has seen."
)


def write_report(study: optuna.Study, search: Search) -> Path:
    """Write the page into the study's folder."""
    found = records(study, search)
    primary = study.user_attrs.get(PRIMARY, "score")
    ended = [record for record in found if record.state not in ("running", "interrupted")]
    lead = [paragraph(f"{search.config}: {len(ended)} of {search.trials} trials, {', '.join(search.space)}.")]
    sections = [
        Section("best", "Best trials", _best(study, search, found, primary)),
        Section("history", "History", _drawn(history(found, primary), courses(found, primary))),
        Section("slices", "Parameters", tuple(slices(found, search.parameters, primary))),
        Section("trials", "All trials", (paragraph(TRIALS_TEXT), _all_trials(found, search, primary))),
    ]
    footer = [
        paragraph(
            f"Sampler {search.sampler}, pruner {search.pruner}, seed {search.seed}; Optuna {optuna.__version__}.",
            quiet=True,
        )
    ]
    path = search.path / PAGE
    temporary = search.path / f".{PAGE}.tmp"
    temporary.write_text(page(f"Search: {search.path.name}", lead, sections, footer=footer), encoding="utf-8")
    temporary.replace(path)
    return path


def trial_row(record: TrialRecord) -> list[str]:
    """Number, score, validations, minutes, values."""
    score = "" if record.score is None else f"{record.score:.4f}"
    epochs = str(record.history[-1][0]) if record.history else ""
    minutes = "" if record.seconds is None else f"{record.seconds / 60:.1f}"
    return [str(record.number), score, epochs, minutes, *record.params.values()]


def columns(search: Search, primary: str) -> list[str]:
    """The heads of `trial_row`."""
    return ["trial", primary, "epochs", "minutes", *search.space]


def _best(study: optuna.Study, search: Search, found: list[TrialRecord], primary: str) -> tuple[str, ...]:
    best = best_first(found)
    if not best:
        return (paragraph("No trial is complete yet."),)
    rows = [trial_row(record) for record in best[: max(search.keep, 5)]]
    shares = importances(study)
    parts = [table(columns(search, primary), rows), paragraph(BEST_TEXT), paragraph("The best one by hand:")]
    parts.append(f"<p><code>{escape(search.command(best[0].overrides))}</code></p>")
    if shares:
        rows = [[key, f"{share:.0%}"] for key, share in shares.items()]
        parts.append(table(["parameter", "share of what tells good trials from bad (PED-ANOVA)"], rows))
    return tuple(parts)


def _drawn(*pictures: str | None) -> tuple[str, ...]:
    drawn = [picture for picture in pictures if picture is not None]
    return (legend(("complete", "pruned", "best")), *drawn) if drawn else (paragraph("Nothing to draw yet."),)


def _all_trials(found: list[TrialRecord], search: Search, primary: str) -> str:
    rows = [[*trial_row(r), r.run, r.state, r.reason[:REASON_LENGTH]] for r in found]
    return table([*columns(search, primary), "folder", "state", "why"], rows)
