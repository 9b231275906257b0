"""What a bundle holds and how to use it: a table of names and numbers that runs no code when read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Union

from cvforge_edge.bundle_paths import clash_problems
from cvforge_edge.errors import BundleError, SpecError
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.labels import label_problems
from cvforge_edge.listed_files import FORMATS as FORMATS
from cvforge_edge.listed_files import MANIFEST_NAME as MANIFEST_NAME
from cvforge_edge.listed_files import PRECISIONS as PRECISIONS
from cvforge_edge.listed_files import RESERVED_NAMES as RESERVED_NAMES
from cvforge_edge.listed_files import SIGNATURE_NAME as SIGNATURE_NAME
from cvforge_edge.listed_files import BundleFile as BundleFile
from cvforge_edge.listed_files import ModelFile as ModelFile
from cvforge_edge.manifest_file import read_manifest_bytes as read_manifest_bytes
from cvforge_edge.postprocess import EMBEDDING, PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import format_json
from cvforge_edge.types import Task

SCHEMA_VERSION = 1
MAX_SHOWN_PROBLEMS = 50
CHECKPOINT = "checkpoint"
"""Subject of the metrics of the network that the model files were exported from."""


@dataclass(frozen=True)
class MetricEntry:
    """How well one model file, or the checkpoint it came from, does on the task's own metric.

    Attributes:
        subject: path of a model file, or `checkpoint`.
        split: which part of the data, for instance `val`.
        primary: the name in `values` that models are compared by.
        values: name -> score, for instance `map50` -> 0.87.
        data_fingerprint: fingerprint of the data set that was scored.
        run_id: training run that the checkpoint comes from.
        interval: confidence interval of the primary value, or None where there is none.
    """

    subject: str
    split: str
    primary: str
    values: Mapping[str, float]
    data_fingerprint: str
    run_id: str
    interval: ScoreInterval | None = None

    def __post_init__(self) -> None:
        if self.primary not in self.values:
            raise SpecError(f"primary: found {self.primary!r}, accepted one of {', '.join(self.values) or 'no values'}")

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON; `interval` only where there is one."""
        value = {**vars(self), "values": dict(self.values), "interval": self.interval and vars(self.interval)}
        return {key: entry for key, entry in value.items() if entry is not None}


@dataclass(frozen=True)
class Manifest:
    """Everything that a device must know to run a model.

    Attributes:
        name: of the model; letters, digits, `.`, `_` and `-`.
        version: whole number that grows with every release of this name.
        task: what it predicts.
        labels: class names in the order of the network's scores.
        preprocess: what an image becomes before the network.
        outputs: role -> name of the output tensor; the roles of the postprocess kind, and `embedding` where there is one.
        postprocess: what raw outputs become.
        files: every file of the bundle except the manifest and its signature; the maker's preference first. Empty only
            while there is no bundle yet, for instance when a checkpoint is evaluated.
        metrics: measured scores.
        reference_statistics: what the device compares its own statistics with; any JSON object.
        provenance: config hash, git commit, versions; any JSON object.
        schema_version: of this format.

    Raises:
        BundleError: the parts do not fit together; the message lists every problem.
    """

    name: str
    version: int
    task: Task
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    outputs: Mapping[str, str]
    postprocess: PostprocessSpec
    files: tuple[Union[ModelFile, BundleFile], ...] = ()
    metrics: tuple[MetricEntry, ...] = ()
    reference_statistics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        problems = [*name_problems(self.name), *label_problems(self.labels)]
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            problems.append(f"version: found {self.version!r}, accepted whole numbers of at least 1")
        if self.schema_version != SCHEMA_VERSION:
            problems.append(f"schema_version: found {self.schema_version!r}, accepted {SCHEMA_VERSION}")
        problems += output_problems(self.task, self.outputs, self.postprocess)
        problems += file_list_problems(self.files, self.metrics)
        if problems:
            raise BundleError(problem_list(f"manifest of {self.name!r}", problems))

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """The model files for devices, which run one image at a time, in the maker's order of preference."""
        return tuple(file for file in self.files if isinstance(file, ModelFile) and not file.batch)

    @property
    def batch_models(self) -> tuple[ModelFile, ...]:
        """The model files for servers, in the maker's order of preference; none where they were not asked for."""
        return tuple(file for file in self.files if isinstance(file, ModelFile) and file.batch)

    def to_json(self) -> str:
        """The text of `manifest.json`; the same manifest always gives the same text."""
        return format_json(
            {
                "schema_version": self.schema_version,
                "name": self.name,
                "version": self.version,
                "task": self.task.value,
                "labels": list(self.labels),
                "preprocess": {**vars(self.preprocess), "size_hw": list(self.preprocess.size_hw)},
                "outputs": dict(self.outputs),
                "postprocess": dict(vars(self.postprocess)),
                "files": [file.to_value() for file in self.files],
                "metrics": [entry.to_value() for entry in self.metrics],
                "reference_statistics": dict(self.reference_statistics),
                "provenance": dict(self.provenance),
            }
        )

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Manifest:
        """The manifest that a text stands for.

        Args:
            text: content of a `manifest.json`.
            where: named in error messages, usually the path of the file.

        Raises:
            BundleError: not JSON, an unknown, missing or ill-typed key, or parts that do not fit together; the message
                lists every problem.
        """
        from cvforge_edge.manifest_json import parse_manifest  # it needs the types above

        return parse_manifest(text, where=where)


def write_manifest(manifest: Manifest, folder: Path | str) -> Path:
    """Write `manifest.json` into a bundle folder, whole or not at all, and return its path."""
    path = Path(folder) / MANIFEST_NAME
    draft = path.with_name(path.name + ".part")
    draft.write_text(manifest.to_json(), encoding="utf-8", newline="\n")
    draft.replace(path)
    return path


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a bundle folder, checked; its files are not looked at.

    Raises:
        BundleError: the folder or its manifest is missing, unreadable or wrong.
    """
    return decode_manifest(read_manifest_bytes(folder), where=str(Path(folder) / MANIFEST_NAME))


def decode_manifest(data: bytes, *, where: str) -> Manifest:
    """The manifest in the content of a `manifest.json`.

    Raises:
        BundleError: not UTF-8, or as `Manifest.from_json`.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: cannot be read as UTF-8 text ({error}); export the bundle again") from None
    return Manifest.from_json(text, where=where)


def problem_list(where: str, problems: Sequence[str]) -> str:
    """One message for all problems of one thing; of very many, the first ones."""
    shown = [f"  {problem}" for problem in problems[:MAX_SHOWN_PROBLEMS]]
    if len(problems) > len(shown):
        shown.append(f"  and {len(problems) - len(shown)} more")
    return "\n".join([f"{where}: {len(problems)} problem{'s' if len(problems) > 1 else ''}", *shown])


def name_problems(name: str) -> list[str]:
    """What is wrong with the name of a model."""
    ok = name.isascii() and name.replace(".", "").replace("_", "").replace("-", "").isalnum() and name[0] not in ".-"
    return (
        [] if ok else [f"name: found {name!r}, accepted letters, digits, '.', '_', '-', not beginning with '.' or '-'"]
    )


def output_problems(task: Task, outputs: Mapping[str, str], spec: PostprocessSpec) -> list[str]:
    """What does not fit between task, outputs and postprocess kind."""
    problems = []
    if spec.task is not task:
        problems.append(
            f"postprocess.kind: {spec.kind!r} belongs to task {spec.task.value!r}, but task is {task.value!r}"
        )
    if sorted(set(outputs) - {EMBEDDING}) != sorted(spec.roles):
        found = ", ".join(sorted(outputs)) or "none"
        problems.append(
            f"outputs: found roles {found}, but kind {spec.kind!r} needs exactly {', '.join(spec.roles)}, and may have "
            f"{EMBEDDING}"
        )
    names = list(outputs.values())
    if "" in names or len(set(names)) < len(names):
        problems.append(f"outputs: found tensor names {names}, accepted one name of its own for each role")
    return problems


def file_list_problems(files: Sequence[ModelFile | BundleFile], metrics: Sequence[MetricEntry]) -> list[str]:
    """What does not fit among the files, or between them and the metrics."""
    counts = Counter(file.path for file in files)
    problems = [f"files: {path} is listed {count} times" for path, count in sorted(counts.items()) if count > 1]
    problems += clash_problems(counts, reserved=RESERVED_NAMES)
    models = [file.path for file in files if isinstance(file, ModelFile)]
    for index, entry in enumerate(metrics):
        if entry.subject != CHECKPOINT and entry.subject not in models:
            accepted = ", ".join([CHECKPOINT, *models])
            problems.append(f"metrics[{index}].subject: found {entry.subject!r}, accepted {accepted}")
    return problems
