"""Everything that can be wrong with a config, found before anything expensive starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvforge.config.problems import Problems, suggestion
from cvforge.config.schema import CACHES, OPTIMISERS, SCHEDULES, Config, ExportSection
from cvforge.config.targets import check_targets, parameters
from cvforge.config.typed import UNKNOWN, to_dataclass
from cvforge_edge.errors import SpecError
from cvforge_edge.manifest import FORMATS, PRECISIONS
from cvforge_edge.postprocess import KINDS
from cvforge_edge.preprocess import COLOR_ORDERS, INTERPOLATIONS, RESIZE_MODES, PreprocessSpec
from cvforge_edge.types import VOID_CLASS_ID, Task

TASKS = tuple(task.value for task in Task)
CHOICES: dict[str, tuple[str, ...]] = {
    "task": TASKS,
    "data.cache": CACHES,
    "preprocess.resize": RESIZE_MODES,
    "preprocess.color_order": COLOR_ORDERS,
    "preprocess.interpolation": tuple(INTERPOLATIONS),
    "optim.name": OPTIMISERS,
    "optim.schedule": SCHEDULES,
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.strategy": ("auto", "ddp", "ddp_find_unused_parameters_true"),
    "trainer.precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
    "logging.wandb_mode": ("offline", "online"),
}
CHOICES_OF_LISTS = {"export.formats": FORMATS, "export.precisions": PRECISIONS}
GENERIC_HINT = "give data.root=/path/to/the/data; see data/README.md"
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Range:
    """The numbers that a key accepts."""

    text: str
    accepts: Callable[[float], bool]


POSITIVE = Range("a number > 0", lambda v: 0 < v < float("inf"))
NOT_NEGATIVE = Range("a number >= 0", lambda v: 0 <= v < float("inf"))
FRACTION = Range("a number in 0..1", lambda v: 0 <= v <= 1)
OPEN_FRACTION = Range("a number above 0 and below 1", lambda v: 0 < v < 1)
AT_LEAST_ONE = Range("a whole number >= 1", lambda v: v >= 1)
SEED = Range("a whole number in 0..4294967295", lambda v: 0 <= v < 2**32)
RANGES = {
    "run.seed": SEED,
    "data.num_classes": AT_LEAST_ONE,
    "data.batch_size": AT_LEAST_ONE,
    "data.eval_batch_size": AT_LEAST_ONE,
    "data.num_workers": NOT_NEGATIVE,
    "data.cache_limit_mb": NOT_NEGATIVE,
    "postprocess.score_threshold": FRACTION,
    "postprocess.iou_threshold": FRACTION,
    "postprocess.max_detections": AT_LEAST_ONE,
    "evaluation.score_threshold": FRACTION,
    "evaluation.iou_threshold": FRACTION,
    "evaluation.max_detections": AT_LEAST_ONE,
    "optim.lr": POSITIVE,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.momentum": Range("a number >= 0 and below 1", lambda v: 0 <= v < 1),
    "optim.backbone_lr_factor": FRACTION,
    "optim.warmup_epochs": NOT_NEGATIVE,
    "optim.min_lr_factor": FRACTION,
    "optim.ema_decay": OPEN_FRACTION,
    "trainer.max_epochs": AT_LEAST_ONE,
    "trainer.max_steps": Range("-1 or a whole number >= 1", lambda v: v == -1 or v >= 1),
    "trainer.threads": AT_LEAST_ONE,
    "trainer.gradient_clip_norm": POSITIVE,
    "trainer.accumulate_batches": AT_LEAST_ONE,
    "trainer.validate_every_n_epochs": AT_LEAST_ONE,
    "trainer.early_stopping_patience": AT_LEAST_ONE,
    "trainer.limit_train_batches": AT_LEAST_ONE,
    "trainer.limit_val_batches": AT_LEAST_ONE,
    "trainer.log_every_n_steps": AT_LEAST_ONE,
    "export.golden_images": AT_LEAST_ONE,
    "export.calibration_images": AT_LEAST_ONE,
    "export.max_float_layers": NOT_NEGATIVE,
}
ALL_DEVICES = (-1, "auto")
REQUIRED_TARGETS = ("model", "metric", "data.train", "data.val")
OPTIONAL_TARGETS = ("loss", "augment", "data.test")


def check(raw: dict[str, Any], problems: Problems, *, require_data: bool) -> Config:
    """Hold resolved plain values against the schema, the tables above and every constructor.

    Args:
        raw: the whole config; UNKNOWN stands where a value is missing and reported already.
        problems: receives everything that is wrong.
        require_data: whether the folder `data.root` must exist.

    Returns:
        The typed config, to be used only when no problem was found.
    """
    config: Config = to_dataclass(raw, Config, key="", problems=problems)
    _check_tables(raw, problems)
    _check_run_name(raw, problems)
    _check_preprocess(raw, problems)
    _check_postprocess(raw, problems)
    _check_optim(raw, problems)
    _check_devices(raw, problems)
    _check_export(raw, problems)
    for key in REQUIRED_TARGETS:
        if _get(raw, key) in ({}, None):
            problems.add(key, "missing: name what to build with _target_, or choose an option of the group")
    for key in OPTIONAL_TARGETS:
        if _get(raw, key) == {}:
            problems.add(key, "empty: name what to build with _target_, or write null")
    classes = check_targets(raw, problems)
    _check_tasks(raw, classes, problems)
    _check_model(raw, classes, problems)
    _check_data(raw, classes, problems, require_data=require_data)
    return config


def check_export_section(raw: dict[str, Any], problems: Problems) -> ExportSection:
    """Hold the section `export` alone against the schema and the tables above; `raw` has no other."""
    section: ExportSection = to_dataclass(raw["export"], ExportSection, key="export", problems=problems)
    _check_tables(raw, problems)
    _check_export(raw, problems)
    return section


def _check_tables(raw: dict[str, Any], problems: Problems) -> None:
    for key, accepted in CHOICES.items():
        value = _get(raw, key)
        if isinstance(value, str) and value not in accepted:
            problems.add(key, f"found {value!r}{suggestion(value, accepted)}")
    for key, accepted in CHOICES_OF_LISTS.items():
        values = _get(raw, key)
        for value in values if isinstance(values, list) else ():
            if isinstance(value, str) and value not in accepted:
                problems.add(key, f"found {value!r}{suggestion(value, accepted)}")
    for key, limits in RANGES.items():
        value = _get(raw, key)
        if _is_number(value) and not limits.accepts(value):
            problems.add(key, f"found {value!r}, expected {limits.text}")


def _check_run_name(raw: dict[str, Any], problems: Problems) -> None:
    name = _get(raw, "run.name")
    if isinstance(name, str) and not RUN_NAME.fullmatch(name):
        problems.add("run.name", f"found {name!r}, expected letters, digits, '.', '_', '-': it names a folder")


def _check_preprocess(raw: dict[str, Any], problems: Problems) -> None:
    size, pad = _get(raw, "preprocess.size_hw"), _get(raw, "preprocess.pad_value")
    for arguments in ({"size_hw": size}, {"size_hw": (8, 8), "pad_value": pad}):
        key = "size_hw" if len(arguments) == 1 else "pad_value"
        value = arguments[key]
        if not (isinstance(value, list) if key == "size_hw" else type(value) is int):
            continue
        try:
            PreprocessSpec(**arguments)
        except SpecError as error:
            problems.add(f"preprocess.{key}", str(error).removeprefix(f"{key}: "))


def _check_postprocess(raw: dict[str, Any], problems: Problems) -> None:
    task, kind, count = _get(raw, "task"), _get(raw, "postprocess.kind"), _get(raw, "data.num_classes")
    accepted = [name for name, known in KINDS.items() if known.task.value == task or task not in TASKS]
    if isinstance(kind, str) and kind not in accepted:
        problems.add("postprocess.kind", f"found {kind!r} for task {task}{suggestion(kind, accepted)}")
    if task == Task.SEGMENTATION.value and _is_number(count) and count > VOID_CLASS_ID:
        problems.add("data.num_classes", f"found {count}, expected at most {VOID_CLASS_ID}: class maps are 8 bit")


def _check_optim(raw: dict[str, Any], problems: Problems) -> None:
    warmup, epochs = _get(raw, "optim.warmup_epochs"), _get(raw, "trainer.max_epochs")
    if _is_number(warmup) and _is_number(epochs) and warmup > epochs >= 1 and _get(raw, "trainer.max_steps") == -1:
        problems.add("optim.warmup_epochs", f"found {warmup}, expected at most trainer.max_epochs ({epochs})")


def _check_devices(raw: dict[str, Any], problems: Problems) -> None:
    devices = _get(raw, "trainer.devices")
    if isinstance(devices, (int, str)) and devices not in ALL_DEVICES and not (type(devices) is int and devices >= 1):
        problems.add("trainer.devices", f"found {devices!r}, expected auto, -1 (all), or a whole number >= 1")


def _check_export(raw: dict[str, Any], problems: Problems) -> None:
    precisions = _get(raw, "export.precisions")
    for table in ("export.metric_budget", "export.tensor_tolerance", "export.tensor_peak"):
        values = _get(raw, table)
        if not isinstance(values, dict):
            continue
        for precision in precisions if isinstance(precisions, list) else ():
            if precision not in values:
                problems.add(f"{table}.{precision}", f"missing: export.precisions asks for {precision}")
        for name, value in values.items():
            if _is_number(value) and value < 0:
                problems.add(f"{table}.{name}", f"found {value!r}, expected {NOT_NEGATIVE.text}")


def _check_tasks(raw: dict[str, Any], classes: dict[str, type], problems: Problems) -> None:
    """Parts that say by an attribute `task` what they are for must be for the task of the config."""
    task = _get(raw, "task")
    for key, cls in classes.items():
        made_for = getattr(cls, "task", None)
        if isinstance(made_for, Task) and task in TASKS and made_for.value != task:
            problems.add(f"{key}._target_", f"{cls.__name__} is for {made_for.value}, but task is {task}")


def _check_model(raw: dict[str, Any], classes: dict[str, type], problems: Problems) -> None:
    given, stated = _get(raw, "model.num_classes"), _get(raw, "data.num_classes")
    if _is_number(given) and _is_number(stated) and given != stated:
        text = f"found {given}, but data.num_classes is {stated}; write ${{data.num_classes}}"
        problems.add("model.num_classes", text)
    if "model" not in classes:
        return
    name = classes["model"].__name__
    own_losses = callable(getattr(classes["model"], "losses", None))
    if own_losses and isinstance(raw.get("loss"), dict):
        problems.add("loss", f"{name} computes its own losses; give loss=null")
    if not own_losses and raw.get("loss") is None:
        problems.add("loss", f"missing: {name} does not compute its own; choose one, like loss={raw.get('task')}")


def _check_data(raw: dict[str, Any], classes: dict[str, type], problems: Problems, *, require_data: bool) -> None:
    root = _get(raw, "data.root")
    labels, count = _get(raw, "data.labels"), _get(raw, "data.num_classes")
    if isinstance(labels, list) and _is_number(count) and len(labels) != count:
        problems.add("data.labels", f"found {len(labels)} names, but data.num_classes is {count}")
    if not require_data or root is UNKNOWN:
        return
    hint = _get(raw, "data.hint") if isinstance(_get(raw, "data.hint"), str) else GENERIC_HINT
    takers = [key for key, cls in classes.items() if key.startswith("data.") and "root" in parameters(cls)[0]]
    if root in (None, "") and any("root" not in _get(raw, key) for key in takers):
        problems.add("data.root", f"missing: {hint}")
    if not isinstance(root, str) or not root:
        return
    if "data.train" in classes and not takers and root not in str([_get(raw, key) for key in classes]):
        problems.add("data.root", f"found {root}, but these data take no root; give data.root=null")
    elif not Path(root).is_dir():
        problems.add("data.root", f"no such folder: {root}; {hint}")


def _get(raw: dict[str, Any], key: str) -> Any:
    node: Any = raw
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
