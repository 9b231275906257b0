"""What a user points a command at, a run or a bundle, opened as one predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvforge.config import build
from cvforge.config.load import load, load_resolved
from cvforge.config.schema import Config
from cvforge.errors import ConfigError, DataError
from cvforge.runs import CONFIG_NAME, Run, open_run
from cvforge_edge.manifest import MANIFEST_NAME, Manifest
from cvforge_edge.predictor import Predictor
from cvforge_edge.trust import read_optional_trust
from cvforge_edge.types import Task

DATA_SECTIONS = ("data", "evaluation", "metric", "trainer")


@dataclass(frozen=True)
class OpenedModel:
    """A model that is ready to predict.

    Attributes:
        name: for the user: the run's folder name, or the bundle's with the file in use.
        predictor: with the thresholds of use.
        run: where it comes from, or None for a bundle.
    """

    name: str
    predictor: Predictor
    run: Run | None


def open_model(
    path: Path,
    *,
    checkpoint: str = "best",
    backend: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    trust: Path | None = None,
    batch: bool = False,
) -> OpenedModel:
    """A run's checkpoint, or a bundle's model file.

    Args:
        path: a run folder, or a bundle folder.
        checkpoint: of a run: `best`, `last` or a path.
        backend: of a bundle: a name in `cvforge_edge.backends.BACKENDS`; None for the preferred one.
        precision: of a bundle: None for its first model that the backend runs.
        threads: of a bundle: processor threads; None for one.
        trust: of a bundle: public keys, one of which must have signed it.
        batch: of a bundle: its model for servers instead of one for devices.

    Raises:
        ConfigError: there is neither, or an option of the one is given for the other.
        CheckpointError: the run has no such checkpoint, or it is damaged.
        BundleError: the bundle is incomplete or altered.
    """
    if is_bundle(path):
        if checkpoint != "best":
            raise ConfigError(f"--checkpoint {checkpoint}: {path} is a bundle and holds no checkpoint; give a run")
        predictor = Predictor.from_bundle(
            path,
            backend=backend,
            precision=precision,
            threads=threads or 1,
            trust=read_optional_trust(trust),
            batch=batch,
        )
        chosen = " ".join(word for word in (precision, backend, "batch" if batch else "") if word)
        return OpenedModel(f"{path.name} {chosen}".strip(), predictor, None)
    given = {"--backend": backend, "--precision": precision, "--threads": threads, "--trust": trust}
    given["--batch"] = batch or None
    foreign = [option for option, value in given.items() if value is not None]
    if foreign:
        raise ConfigError(f"{', '.join(foreign)}: {path} is a run, whose checkpoint runs in PyTorch; give a bundle")
    run = require_run(path)
    return OpenedModel(f"{run.dir.name} {checkpoint}", run_predictor(run, checkpoint=checkpoint), run)


def is_bundle(path: Path) -> bool:
    """Whether a path is meant as a bundle, even a damaged one."""
    return (path / MANIFEST_NAME).exists() or (path.is_dir() and any(path.glob("model_*")))


def require_run(path: Path) -> Run:
    """The run at a path.

    Raises:
        ConfigError: there is none.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such folder; give a run (runs/NAME-DATE-TIME) or a bundle (bundles/NAME)")
    if path.is_dir() and not any(
        (folder / CONFIG_NAME).is_file() for folder in (path, path.parent, path.parent.parent)
    ):
        raise ConfigError(
            f"{path}: neither a run, which has a {CONFIG_NAME}, nor a bundle, which has a {MANIFEST_NAME}"
        )
    return open_run(path)


def run_predictor(run: Run, *, checkpoint: str = "best") -> Predictor:
    """A checkpoint behind the device's own pre- and post-processing."""
    from cvforge.export.torch_backend import TorchBackend  # torch takes seconds to import; a bundle needs none

    config = load_resolved(run.config)
    net = build.load_net(run, checkpoint, config=config)
    return Predictor(TorchBackend(net), run_manifest(config, run.labels, name=run.dir.name))


def run_manifest(config: Config, labels: tuple[str, ...], *, name: str) -> Manifest:
    """What a bundle of a run would say about images and outputs."""
    postprocess = build.build_postprocess(config)
    return Manifest(
        name=name,
        version=1,
        task=Task(config.task),
        labels=labels,
        preprocess=build.build_preprocess(config),
        outputs={role: role for role in postprocess.roles},
        postprocess=postprocess,
    )


def run_config(run: Run, overrides: Sequence[str], *, sections: Sequence[str] = DATA_SECTIONS) -> Config:
    """A run's config with changes to some of its sections only; what made the weights stays as it was.

    Raises:
        ConfigError: an override names another section, or the config does not check.
    """
    foreign = [text for text in overrides if text.partition("=")[0].lstrip("+~").partition(".")[0] not in sections]
    if foreign:
        raise ConfigError(
            f"{', '.join(foreign)}: a trained model stays as it was trained; here only keys of "
            f"{', '.join(sections)} can be given, for instance data.root=/path/to/data"
        )
    return load_resolved(run.config, list(overrides), require_data=True)


def data_config(model: OpenedModel, *, config: str | None, run: Path | None, overrides: Sequence[str]) -> Config:
    """The config that says on which data a model is scored: the run's own, or the one that is named.

    A bundle carries no paths of the machine that made it, so it has to be told where data are.

    Raises:
        ConfigError: a bundle came without, or both were given.
    """
    if config is not None and run is not None:
        raise ConfigError("--config and --run: give one of them; both say which data to score on")
    if config is not None:
        return load(config, list(overrides))
    source = require_run(run) if run is not None else model.run
    if source is None:
        raise ConfigError(
            f"{model.name}: a bundle does not say where data are; give --run RUN (the run it was exported from), or "
            "--config NAME with data.root=/path/to/data"
        )
    return run_config(source, overrides)


def matching_dataset(config: Config, split: str, *, task: Task, labels: tuple[str, ...]) -> Any:
    """A data set of the same task and classes as a model.

    Raises:
        DataError: it has others; the score would mean nothing.
    """
    dataset = build.build_dataset(config, split)
    if dataset.task is not task:
        raise DataError(f"data.{split}: a data set for {dataset.task.value}, but the model is for {task.value}")
    if tuple(dataset.labels) != tuple(labels):
        raise DataError(
            f"data.{split}: its classes are {_shown(dataset.labels)}, but the model knows {_shown(labels)}; "
            "score a model on data with its own classes, in the same order"
        )
    return dataset


def _shown(labels: Sequence[str]) -> str:
    return f"{len(labels)} ({', '.join(labels[:6])}{', ...' if len(labels) > 6 else ''})"
