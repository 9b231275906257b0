"""A SavedModel answers as its network does, in Python and in the C++ loader of servers, and is kept whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cvforge.errors import ExportBudgetError, ExportError, RunExistsError
from cvforge.export.report import ExportReport
from cvforge.export.savedmodel import backend as savedmodel_backend
from cvforge.export.savedmodel.backend import SavedModelBackend
from cvforge.export.savedmodel.write import MANIFEST_PATH, write_savedmodel
from cvforge.export.source import Source, network_source
from cvforge.export.worker import worker_environment
from cvforge_edge.backends import Backend, open_backend
from cvforge_edge.errors import BackendError
from cvforge_edge.manifest import Manifest
from cvforge_edge.postprocess import postprocess
from cvforge_edge.predictor import Predictor
from cvforge_edge.types import Task
from export.operator_files import FileBuilder
from export.tiny import LABELS, TinyData, quiet_stages, tiny_net, tiny_plan, tiny_scoring

needs_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the extra `tensorflow`")
C_LOADER = Path(__file__).parent / "c_loader.py"
TOLERANCE = 1e-5


def plan_of(task: Task, **changes: object):
    values = {"formats": ("tflite",), "precisions": ("fp32",), "tensor_tolerance": {"fp32": 1e-3}, **changes}
    return tiny_plan(task, **values)


@pytest.fixture(scope="session")
def tflite_of(exported: Callable[[Task], ExportReport]) -> Callable[[Task], Path]:
    return lambda task: exported(task).folder / "model_fp32.tflite"


def source_of(tflite: Path, answers: Backend | None = None) -> Source:
    """A source that is converted already: conversion takes a minute, and has its own tests."""

    def write(draft: Path, *_: object) -> dict[str, Path]:
        shutil.copy(tflite, draft / "model_fp32.tflite")
        return {}

    return Source(answers or open_backend("litert", tflite), write)


@pytest.fixture(scope="session")
def served(
    tflite_of: Callable[[Task], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Task], ExportReport]:
    """The SavedModel of a tiny net of a task, held against PyTorch, made once."""
    reports: dict[Task, ExportReport] = {}

    def make(task: Task) -> ExportReport:
        if task not in reports:
            source = source_of(tflite_of(task), network_source(tiny_net(task)).backend)
            target = tmp_path_factory.mktemp("savedmodels") / "tiny" / "1"
            reports[task] = write_savedmodel(
                source, tiny_scoring(task), plan_of(task), target=target, stages=quiet_stages
            )
        return reports[task]

    return make


def prepared_images(task: Task, count: int) -> np.ndarray:
    preprocess = plan_of(task).preprocess
    return np.stack([preprocess.apply(TinyData(task)[index].image_bgr)[0] for index in range(count)])


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("task", list(Task))
def test_tensorflow_gives_the_outputs_and_the_score_of_pytorch(
    task: Task, served: Callable[[Task], ExportReport]
) -> None:
    report = served(task)
    verdict = report.verdicts[0]
    assert max(verdict.parity.values()) < TOLERANCE
    assert verdict.metrics == pytest.approx(dict(report.reference.metrics), abs=1e-6)
    assert verdict.metrics[report.reference.primary] > 0.3
    assert "torch" in sys.modules
    assert "tensorflow" not in sys.modules, "the two crash in one process"


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("task", list(Task))
def test_a_batch_and_the_loader_of_servers_give_the_same_answers(
    task: Task, served: Callable[[Task], ExportReport], tflite_of: Callable[[Task], Path], tmp_path: Path
) -> None:
    folder = served(task).folder
    images = prepared_images(task, 3)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, str(C_LOADER), str(folder), str(tmp_path / "images.npy"), str(tmp_path / "answers.npz")]
    done = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    litert = open_backend("litert", tflite_of(task))
    single = [litert.run(image[None]) for image in images]
    answers = np.load(tmp_path / "answers.npz")
    assert sorted(answers) == sorted(single[0])
    for role, found in answers.items():
        expected = np.concatenate([answer[role] for answer in single])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * max(1.0, np.abs(expected).max()))


@needs_tensorflow
@pytest.mark.slow
def test_the_manifest_beside_a_model_is_all_that_a_server_needs(
    served: Callable[[Task], ExportReport], tflite_of: Callable[[Task], Path]
) -> None:
    report = served(Task.DETECTION)
    text = (report.folder / MANIFEST_PATH).read_text(encoding="utf-8")
    manifest = Manifest.from_json(text, where="beside the model")
    assert manifest == report.manifest
    assert manifest.labels == LABELS
    assert manifest.provenance["savedmodel"]["batch"] == "batched"
    found = {p.relative_to(report.folder).as_posix() for p in report.folder.rglob("*") if p.is_file()}
    assert {file.path for file in manifest.files} | {MANIFEST_PATH} == found
    for file in manifest.files:
        assert hashlib.sha256((report.folder / file.path).read_bytes()).hexdigest() == file.sha256
    image_bgr = TinyData(Task.DETECTION)[0].image_bgr
    backend = SavedModelBackend(report.folder)
    input_u8, geometry = manifest.preprocess.apply(image_bgr)
    outputs = {role: array[0] for role, array in backend.run(input_u8[None]).items()}
    backend.close()
    with Predictor(open_backend("litert", tflite_of(Task.DETECTION)), manifest) as device:
        expected = device.predict(image_bgr)
    server = postprocess(outputs, manifest.postprocess, geometry)
    np.testing.assert_allclose(server.boxes_xyxy, expected.boxes_xyxy, atol=1e-4)
    assert server.class_ids.tolist() == expected.class_ids.tolist() == [0]


@needs_tensorflow
@pytest.mark.slow
def test_the_same_file_gives_the_same_bytes_without_paths_of_this_machine(
    served: Callable[[Task], ExportReport], tflite_of: Callable[[Task], Path], tmp_path: Path
) -> None:
    task = Task.SEGMENTATION
    first = served(task).folder
    source = source_of(tflite_of(task), network_source(tiny_net(task)).backend)
    target = tmp_path / "again" / "1"
    write_savedmodel(source, tiny_scoring(task), plan_of(task), target=target, stages=quiet_stages)
    contents = {path.relative_to(first): path.read_bytes() for path in first.rglob("*") if path.is_file()}
    assert contents == {path.relative_to(target): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    traces = [str(Path.home()), str(first.parent), str(Path(sys.prefix)), str(Path(__file__).resolve().parents[2])]
    assert [(name, t) for name, content in contents.items() for t in traces if t.encode() in content] == []


class TurnedRound:
    """Another network of the same shape: its first label is the other's last."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def run(self, image_u8: np.ndarray) -> dict[str, np.ndarray]:
        return {role: array[..., ::-1] for role, array in self._backend.run(image_u8).items()}

    def close(self) -> None:
        self._backend.close()


class TurnedData(TinyData):
    """Images whose truth is what that network says."""

    def _truth(self, class_id: int, left: int, top: int, image_rgb: np.ndarray) -> object:
        return super()._truth(len(LABELS) - 1 - class_id, left, top, image_rgb)


@needs_tensorflow
@pytest.mark.slow
def test_a_savedmodel_over_budget_is_not_written(tflite_of: Callable[[Task], Path], tmp_path: Path) -> None:
    task = Task.CLASSIFICATION
    source = source_of(tflite_of(task), TurnedRound(network_source(tiny_net(task)).backend))
    plan = plan_of(task, tensor_tolerance={"fp32": 1e6}, tensor_peak={"fp32": 1e6})
    scoring = replace(tiny_scoring(task), dataset=TurnedData(task))
    with pytest.raises(ExportBudgetError) as caught:
        write_savedmodel(source, scoring, plan, target=tmp_path / "m" / "1", stages=quiet_stages)
    lines = str(caught.value).splitlines()
    assert lines[:2] == ["export over budget; no SavedModel was written", "savedmodel:"]
    assert lines[2].strip().startswith("top1 ")
    assert caught.value.exit_code == 3
    assert list((tmp_path / "m").iterdir()) == []


@needs_tensorflow
@pytest.mark.slow
def test_a_network_that_mixes_images_of_a_batch_is_served_one_by_one(tmp_path: Path) -> None:
    # The batch is moved behind the rows and summed there: right for one image, wrong for two.
    builder = FileBuilder()
    moved = builder.add(
        "TRANSPOSE",
        builder.options("Transpose"),
        [builder.features, np.array([1, 0, 2, 3], np.int32)],
        (6, 1, 8, 3),
    )
    rows = builder.add("SUM", builder.options("Reducer", keepDims=False), [moved, np.array([1], np.int32)], (6, 8, 3))
    output = builder.add("RESHAPE", builder.options("Reshape"), [rows, np.array([1, 6, 8, 3], np.int32)], (1, 6, 8, 3))
    (tmp_path / "m.tflite").write_bytes(builder.content(output))
    arguments = [str(tmp_path / name) for name in ("m.tflite", "m", "report.json")]
    command = [sys.executable, "-m", "cvforge.export.savedmodel.write_worker", *arguments]
    done = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "report.json").read_text())["batch"] == "one by one"
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3)).astype(np.uint8)
    backend = SavedModelBackend(tmp_path / "m")
    together = backend.run(images)["y"]
    single = np.concatenate([backend.run(image[None])["y"] for image in images])
    litert = open_backend("litert", tmp_path / "m.tflite")
    expected = np.concatenate([litert.run(image[None])["y"] for image in images])
    np.testing.assert_allclose(together, expected, atol=TOLERANCE)
    np.testing.assert_allclose(single, expected, atol=TOLERANCE)
    with pytest.raises(BackendError, match="inference failed: InvalidArgumentError"):
        backend.run(images[:, :3])
    assert backend.run(images[:1])["y"].shape == (1, 6, 8, 3), "one bad request does not end the process"
    backend.close()


@needs_tensorflow
@pytest.mark.slow
def test_a_folder_that_tensorflow_cannot_load_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(BackendError, match=r"cannot be loaded by tensorflow: \w+: .*saved_model.pb"):
        SavedModelBackend(tmp_path)


def test_a_version_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "m" / "3").mkdir(parents=True)
    plan = plan_of(Task.CLASSIFICATION)
    with pytest.raises(RunExistsError, match="holds version 3 already.*raise --model-version") as caught:
        write_savedmodel(
            None, tiny_scoring(Task.CLASSIFICATION), plan, target=tmp_path / "m" / "3", stages=quiet_stages
        )
    assert caught.value.exit_code == 6


def test_without_tensorflow_the_error_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savedmodel_backend, "find_spec", lambda _: None)
    plan = plan_of(Task.CLASSIFICATION)
    with pytest.raises(BackendError, match="make install EXTRAS=train,export,tensorflow,dev") as caught:
        write_savedmodel(
            None, tiny_scoring(Task.CLASSIFICATION), plan, target=tmp_path / "m" / "1", stages=quiet_stages
        )
    assert caught.value.exit_code == 11
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_other_precisions_is_refused(tmp_path: Path) -> None:
    plan = tiny_plan(Task.CLASSIFICATION)
    with pytest.raises(ExportError, match="accepted tflite in fp32"):
        write_savedmodel(
            None, tiny_scoring(Task.CLASSIFICATION), plan, target=tmp_path / "m" / "1", stages=quiet_stages
        )
