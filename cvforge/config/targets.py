"""Every `_target_` of a config: may it be imported, does it exist, do its keys fit the constructor.

A config may come from somebody else, and `_target_` runs code. So a target must be a class, it must lie below a trusted
prefix, and it must be defined there (`cvforge.runs.subprocess.Popen` is refused). A config cannot extend the trust in
itself: a user's own package is named in the environment variable CVFORGE_TRUSTED_PREFIXES, separated by commas.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from cvforge.config.problems import Problems, join, suggestion
from cvforge.config.typed import UNKNOWN, convert, found

TARGET = "_target_"
TRUST_VARIABLE = "CVFORGE_TRUSTED_PREFIXES"
TRUSTED_PREFIXES = (
    "cvforge",
    "torch.nn",  # not all of torch: torch.hub and torch.load run code of others
    "torch.optim",
    "torchvision",
    "timm",
    "pytorch_lightning.callbacks",
    "albumentations",
)


@dataclass(frozen=True)
class Slot:
    """A place in the config where a `_target_` stands.

    Attributes:
        key: dotted path of the section.
        role: what stands there, for messages.
        methods: what its class must offer.
        supplied: arguments that `build.py` gives, so YAML need not.
    """

    key: str
    role: str
    methods: tuple[str, ...]
    supplied: tuple[str, ...] = ()


DATASET_METHODS = ("__len__", "__getitem__", "image_id", "truth", "fingerprint")
DATASET_SUPPLIED = ("root",)  # data.root, for sets that lie in a folder
SLOTS = (
    Slot("model", "a network", ("forward", "predict")),
    Slot("loss", "a loss", ("forward",)),
    Slot("metric", "a metric", ("update", "compute", "reset", "state", "merge"), ("labels",)),
    Slot("augment", "an augmentation", ("__call__",)),
    Slot("data.train", "a data set", DATASET_METHODS, DATASET_SUPPLIED),
    Slot("data.val", "a data set", DATASET_METHODS, DATASET_SUPPLIED),
    Slot("data.test", "a data set", DATASET_METHODS, DATASET_SUPPLIED),
)
CALLBACK_METHODS = ("on_fit_start", "state_dict")


class TargetError(Exception):
    """Why a `_target_` cannot be used."""


def slots(raw: dict[str, Any]) -> Iterator[tuple[Slot, dict[str, Any]]]:
    """Every place that holds a `_target_` mapping, with the mapping."""
    for slot in SLOTS:
        value: Any = raw
        for part in slot.key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value and isinstance(value, dict):
            yield slot, value
    callbacks = raw.get("callbacks")
    for name, value in callbacks.items() if isinstance(callbacks, dict) else ():
        if isinstance(value, dict):
            yield Slot(join("callbacks", name), "a Lightning callback", CALLBACK_METHODS), value


def check_targets(raw: dict[str, Any], problems: Problems) -> dict[str, type]:
    """Check all targets of a config; the classes that were found, by the key of their slot."""
    found_classes = {}
    for slot, mapping in slots(raw):
        cls = check_target(mapping, key=slot.key, slot=slot, problems=problems)
        if cls is not None:
            found_classes[slot.key] = cls
    return found_classes


def check_target(
    mapping: dict[str, Any], *, key: str, slot: Slot | None = None, supplied: tuple[str, ...] = (), problems: Problems
) -> type | None:
    """Hold one mapping, and every target nested in it, against the constructor that it names.

    Args:
        mapping: resolved values with `_target_`.
        key: dotted path of the mapping.
        slot: the place where it stands; None inside another target.
        supplied: further arguments that are given in code.
        problems: receives what does not fit.

    Returns:
        The class, or None when it cannot stand there.
    """
    path = mapping.get(TARGET)
    if path is UNKNOWN:
        return None
    if not isinstance(path, str) or not path:
        text = "missing:" if path is None else f"found {found(path)}, expected text;"
        problems.add(join(key, TARGET), f"{text} name the class to build, like cvforge.package.module.Class")
        return None
    for name, value in mapping.items():
        _check_nested(value, join(key, name), problems)
    try:
        cls = locate(path)
        _check_role(cls, slot)
    except TargetError as error:
        problems.add(join(key, TARGET), str(error))
        return None
    _check_arguments(mapping, cls, key, (*supplied, *(slot.supplied if slot else ())), problems)
    return cls


def locate(path: str) -> type:
    """The class that a dotted path names.

    Raises:
        TargetError: the path is not trusted, does not exist, or is not a class.
    """
    module_name, _, name = path.rpartition(".")
    if not _trusted(path) or not module_name:
        raise TargetError(_untrusted_text(path))
    module = _import(module_name)
    target = getattr(module, name, None)
    if target is None:
        raise TargetError(f"{module_name} has no class {name!r}{suggestion(name, _classes(module))}")
    if not isinstance(target, type):
        raise TargetError(f"{path} is not a class{suggestion(name, _classes(module))}")
    if not _trusted(target.__module__):
        raise TargetError(_untrusted_text(_name(target)))
    return target


def parameters(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """The arguments of a constructor by name, and their annotations where they can be read."""
    signature = {name: value for name, value in inspect.signature(cls).parameters.items() if name != "self"}
    try:
        hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # annotations that only a type checker can see
        hints = {}
    return signature, hints


def is_target(value: Any) -> bool:
    """Whether a value is a mapping that names a class."""
    return isinstance(value, dict) and TARGET in value


def _check_role(cls: type, slot: Slot | None) -> None:
    absent = [name for name in slot.methods if not callable(getattr(cls, name, None))] if slot else []
    if slot and absent:
        raise TargetError(f"{_name(cls)} is not {slot.role}: it has no method {', '.join(absent)}")


def _check_arguments(
    mapping: dict[str, Any], cls: type, key: str, supplied: tuple[str, ...], problems: Problems
) -> None:
    signature, hints = parameters(cls)
    kinds = inspect.Parameter
    named = {n: p for n, p in signature.items() if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    open_ended = any(p.kind is kinds.VAR_KEYWORD for p in signature.values())
    for name, value in mapping.items():
        if name == TARGET:
            continue
        if name not in named:
            if not open_ended:
                problems.add(join(key, name), f"unknown key of {_name(cls)}{suggestion(str(name), named)}")
        elif name in hints and not is_target(value):
            convert(value, hints[name], key=join(key, name), problems=problems)
    for name, parameter in named.items():
        if parameter.default is kinds.empty and name not in mapping and name not in supplied:
            problems.add(join(key, name), f"missing: {_name(cls)} needs it; give {join(key, name)}=VALUE")


def _check_nested(value: Any, key: str, problems: Problems) -> None:
    if is_target(value):
        check_target(value, key=key, problems=problems)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_nested(item, join(key, name), problems)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_nested(item, f"{key}[{i}]", problems)


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise TargetError(_no_module_text(error.name)) from error
        raise TargetError(f"{module_name} needs the package {error.name!r}, which is not installed") from error
    except Exception as error:  # a module of the user's own may fail in any way; the message keeps it to one line
        raise TargetError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error


def _no_module_text(missing: str) -> str:
    parent, _, name = missing.rpartition(".")
    if not parent:
        return f"no package {name!r} is installed"
    siblings = [module.name for module in pkgutil.iter_modules(getattr(_import(parent), "__path__", []))]
    return f"{parent} has no module {name!r}{suggestion(name, siblings)}"


def _classes(module: ModuleType) -> list[str]:
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return [name for name, value in public.items() if isinstance(value, type) and value.__module__ == module.__name__]


def _trusted(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + ".") for prefix in _trusted_prefixes())


def _trusted_prefixes() -> tuple[str, ...]:
    own = (prefix.strip().rstrip(".") for prefix in os.environ.get(TRUST_VARIABLE, "").split(","))
    return (*TRUSTED_PREFIXES, *(prefix for prefix in own if prefix))


def _untrusted_text(path: str) -> str:
    package = path.partition(".")[0]
    return (
        f"{path!r} lies outside the trusted packages ({', '.join(_trusted_prefixes())}), and building it would run its "
        f"code; if you trust it, set {TRUST_VARIABLE}={package}"
    )


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
