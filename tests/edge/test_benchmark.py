"""What files cost on this machine: real processes, how their samples become figures, and processes that fail."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvforge_edge.benchmark import measure as measure_module
from cvforge_edge.benchmark.child import ChildResult, StepTimes
from cvforge_edge.benchmark.cost import FileCost, NotMeasured, Spread, ThreadLatency, cost_value
from cvforge_edge.benchmark.document import costs_value, read_costs
from cvforge_edge.benchmark.machine import Machine, machine_value, read_machine, this_machine
from cvforge_edge.benchmark.measure import BenchmarkPlan, measure_bundle, thread_counts
from cvforge_edge.benchmark.table import cost_header, cost_rows, text_table
from cvforge_edge.bundle import file_sha256, open_bundle
from cvforge_edge.errors import BackendError, SpecError
from cvforge_edge.latency import StageLatency
from cvforge_edge.strict_json import Fields, format_json, parse_strict

EDGE = Path(__file__).resolve().parents[2] / "deploy" / "edge"
BALLAST_BYTES = 400_000_000
NOT_ON_DEVICES = ("torch", "torchvision", "cvforge", "matplotlib", "onnx", "tensorflow", "hydra", "PIL", "rich")
QUICK = BenchmarkPlan(threads=(1, 2), rounds=2)
COST = FileCost(
    "litert",
    3,
    Spread(300.0, 290.5, 310.0),
    Spread(95.0, 94.0, 96.0),
    (
        ThreadLatency(1, 30, StageLatency(8.0, 9.5), StageLatency(9.0, 10.5), Spread(8.0, 7.5, 8.5)),
        ThreadLatency(2, 50, StageLatency(5.0, 6.5), StageLatency(6.0, 7.5), Spread(5.0, 4.5, 5.5)),
    ),
)


def benchmark(*arguments: object, path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(path), str(EDGE))), **changes}
    command = [sys.executable, str(EDGE / "benchmark.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder to put first on the path, where what a device does not have cannot be imported."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in NOT_ON_DEVICES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} is not there on a device')")
    return folder


def test_every_file_is_measured_in_processes_of_its_own(make_bundle) -> None:
    ballast = np.ones(BALLAST_BYTES // 8)
    told: list[tuple[int, int]] = []
    begun_s = time.monotonic()
    costs = measure_bundle(open_bundle(make_bundle()), QUICK, progress=lambda done, total: told.append((done, total)))
    wall_ms = (time.monotonic() - begun_s) * 1000
    assert list(costs) == ["model_fp32.tflite", "model_fp32.onnx"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for cost, backend in zip(costs.values(), ("litert", "onnxruntime"), strict=True):
        assert isinstance(cost, FileCost), cost
        assert (cost.backend, cost.rounds) == (backend, 2)
        assert [latency.threads for latency in cost.latencies] == [1, 2]
        for latency in cost.latencies:
            assert latency.runs >= 6
            assert 0 < latency.network.p50_ms < latency.pipeline.p50_ms < cost.cold_start_ms.low
            assert latency.network.p50_ms <= latency.network.p95_ms
        # This process is larger than any of those, and a new process inherits the ru_maxrss of its parent.
        assert 20 < cost.memory_mb.low <= cost.memory_mb.high < BALLAST_BYTES / 1e6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > ballast.nbytes
    assert sum(cost.cold_start_ms.low + cost.cold_start_ms.high for cost in costs.values()) < wall_ms


def test_a_larger_model_file_takes_more_memory(make_bundle, tmp_path) -> None:
    """The same network with 64 MB of weights that nobody uses but the runtime loads."""
    onnx = pytest.importorskip("onnx")
    from cvforge_edge.bundle import describe_model
    from cvforge_edge.manifest import read_manifest, write_manifest

    folder = make_bundle(formats=("onnx",))
    model = onnx.load(folder / "model_fp32.onnx")
    ones = np.ones((4096, 4096), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(ones, "ones"))
    model.graph.node.append(onnx.helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0))
    model.graph.output.append(onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, ()))
    onnx.save(model, folder / "model_fp16.onnx")
    manifest = read_manifest(folder)
    large = describe_model(folder, "model_fp16.onnx", format="onnx", precision="fp16")
    write_manifest(replace(manifest, files=(*manifest.files, large)), folder)
    costs = measure_bundle(open_bundle(folder), BenchmarkPlan(threads=(1,), rounds=1))
    small_mb, large_mb = (costs[f"model_{precision}.onnx"].memory_mb.median for precision in ("fp32", "fp16"))
    assert large_mb > small_mb + 50


def test_samples_of_all_rounds_become_percentiles_by_nearest_rank() -> None:
    generator = np.random.default_rng(3)
    rounds = [generator.gamma(2.0, 0.004, count) for count in (7, 12, 5)]
    steps = [StepTimes(4, list(network_s), list(network_s + 0.001)) for network_s in rounds]
    latency = measure_module._latency(steps)
    together_ms = np.concatenate(rounds) * 1000
    expected = np.percentile(together_ms, [50, 95], method="inverted_cdf")
    assert (latency.threads, latency.runs) == (4, 24)
    assert (latency.network.p50_ms, latency.network.p95_ms) == pytest.approx(tuple(expected))
    assert latency.pipeline.p50_ms == pytest.approx(expected[0] + 1)
    medians = [float(np.percentile(network_s * 1000, 50, method="inverted_cdf")) for network_s in rounds]
    assert vars(latency.round_p50_ms) == pytest.approx(
        {"median": float(np.median(medians)), "low": min(medians), "high": max(medians)}
    )


def test_start_and_memory_are_medians_over_processes() -> None:
    steps = [StepTimes(1, [0.01], [0.02])]
    results = [ChildResult(seconds, mega * 1_000_000, steps) for seconds, mega in ((0.5, 90), (0.25, 80), (0.375, 100))]
    cost = measure_module._cost("litert", results)
    assert cost.cold_start_ms == Spread(375.0, 250.0, 500.0)
    assert cost.memory_mb == Spread(90.0, 80.0, 100.0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("crash", "its process was ended by SIGSEGV: the runtime crashed, or the memory was not enough"),
        ("hang", "its process took longer than 8 s and was ended"),
        ("silent", "its process ended without a result"),
        ("error", "its process ended with code 11: first line | no such kernel"),
    ],
)
def test_a_process_that_fails_is_named_and_the_other_files_are_measured(make_bundle, monkeypatch, kind, words) -> None:
    monkeypatch.setattr(measure_module, "CHILD", "edge.broken_child")
    monkeypatch.setenv("BROKEN_CHILD", ".tflite")
    monkeypatch.setenv("BROKEN_CHILD_KIND", kind)
    plan = BenchmarkPlan(threads=(1,), rounds=1, time_limit_s=8 if kind == "hang" else 60)
    costs = measure_bundle(open_bundle(make_bundle()), plan)
    assert costs["model_fp32.tflite"] == NotMeasured(words)
    assert isinstance(costs["model_fp32.onnx"], FileCost)


def test_a_bundle_that_changes_meanwhile_is_refused_by_the_process(make_bundle) -> None:
    bundle = open_bundle(make_bundle(formats=("onnx",)))
    (bundle.folder / "model_fp32.onnx").write_bytes(b"other")
    cost = measure_bundle(bundle, QUICK)["model_fp32.onnx"]
    assert isinstance(cost, NotMeasured)
    assert "ended with code 7" in cost.reason
    assert "model_fp32.onnx: 5 bytes, but the manifest says" in cost.reason


def test_a_third_round_is_left_out_when_the_time_is_up_but_never_a_second(make_bundle) -> None:
    bundle = open_bundle(make_bundle(formats=("onnx",)))
    cost = measure_bundle(bundle, BenchmarkPlan(threads=(1,), rounds=5, budget_s=0))["model_fp32.onnx"]
    assert cost.rounds == 2  # type: ignore[union-attr]


def test_files_that_the_chosen_runtime_does_not_run_are_left_out(make_bundle) -> None:
    bundle = open_bundle(make_bundle())
    assert measure_module.fitting_backends(bundle, "litert-builtin") == {"model_fp32.tflite": "litert-builtin"}
    with pytest.raises(BackendError, match=r"has onnx files, and litert runs none of them here; README\.md lists"):
        measure_module.fitting_backends(open_bundle(make_bundle("classifier", formats=("onnx",))), "litert")


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (64, (1, 2, 4, 8))]
)
def test_thread_counts_are_few_and_reach_the_cores(cores: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(cores) == counts


def test_costs_are_the_same_after_a_trip_through_json() -> None:
    costs = {"a.onnx": COST, "b.onnx": NotMeasured("it crashed")}
    problems: list[str] = []
    value = parse_strict(format_json(costs_value(costs)))
    assert read_costs(value, key="files", problems=problems) == costs
    assert problems == []
    machine = Machine("Linux aarch64", "Raspberry Pi 5", 4, "3.11.2", {"numpy": "2.4.6"})
    assert read_machine(Fields(machine_value(machine), key="machine", problems=problems)) == machine
    assert str(machine) == "Raspberry Pi 5, Linux aarch64, 4 cores"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backend": 3}, "files.a.backend: found 3, expected text"),
        ({"memory_mb": {"median": 1, "low": 2, "high": 3}}, "files.a.memory_mb: found low 2.0, median 1.0, high 3.0"),
        ({"latencies": []}, r"files.a.latencies: found those of \[\] threads"),
        ({"latencies": [{}]}, r"files.a.latencies\[0\].threads: missing, expected a whole number of at least 1"),
        ({"secret": 1}, "files.a.secret: unknown key"),
        ({"not_measured": 5}, "files.a.not_measured: found 5, expected text"),
    ],
)
def test_damaged_costs_are_named_by_their_key(change: dict[str, object], words: str) -> None:
    problems: list[str] = []
    read_costs({"a": {**cost_value(COST), **change}}, key="files", problems=problems)
    assert any(re.match(words, problem) for problem in problems), problems


def test_a_spread_is_ordered() -> None:
    with pytest.raises(SpecError, match="found low 2, median 1, high 3"):
        Spread(1, 2, 3)
    with pytest.raises(SpecError):
        Spread(math.nan, 0, 1)


def test_the_table_names_the_fastest_number_of_threads_and_what_was_not_measured() -> None:
    costs = {"a.onnx": COST, "bb.onnx": NotMeasured("it crashed")}
    assert text_table(("file", *cost_header(costs)), cost_rows(costs)).splitlines() == [
        "file     1 thread, ms  best (threads)  pipeline, ms  memory, MB  start, ms",
        "-------  ------------  --------------  ------------  ----------  ---------",
        "a.onnx      8.0 [9.5]         5.0 (2)    9.0 [10.5]          95        300",
        "bb.onnx  not measured",
    ]


def test_the_command_prints_a_table_and_writes_json_without_what_devices_lack(make_bundle, bare, tmp_path) -> None:
    bundle = make_bundle()
    arguments = ("--bundle", bundle, "--threads", "1", "--rounds", "1", "--json", tmp_path / "costs.json")
    done = benchmark(*arguments, path=bare)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == f"tiny-detector on {this_machine()}"
    assert [line.split()[0] for line in lines[3:]] == ["model_fp32.tflite", "model_fp32.onnx"]
    document = json.loads((tmp_path / "costs.json").read_text())
    assert document["manifest_sha256"] == file_sha256(bundle / "manifest.json")
    assert (document["schema_version"], document["model"], document["version"]) == (1, "tiny-detector", 1)
    problems: list[str] = []
    assert set(read_costs(document["files"], key="files", problems=problems)) == {
        "model_fp32.tflite",
        "model_fp32.onnx",
    }
    assert read_machine(Fields(document["machine"], key="machine", problems=problems)) == this_machine()
    assert problems == []


def test_the_command_ends_with_11_when_a_file_cannot_be_measured(make_bundle, bare, tmp_path) -> None:
    arguments = ("--bundle", make_bundle(formats=("onnx",)), "--time-limit", "0.01", "--json", "-")
    done = benchmark(*arguments, path=bare)
    assert done.returncode == 11
    assert "model_fp32.onnx: not measured: its process took longer than 0.01 s and was ended" in done.stderr
    assert "not_measured" in json.loads(done.stdout)["files"]["model_fp32.onnx"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--rounds", "0"], 2, "found '0', accepted whole numbers of at least 1"),
        (["--threads", "1,x"], 2, "found 'x', accepted whole numbers"),
        (["--time-limit", "nan"], 2, "found 'nan', accepted seconds above 0"),
        (["--json", "nowhere/a.json"], 2, "accepted a file in a folder that exists, or -"),
        (["--backend", "tensorrt"], 2, "invalid choice: 'tensorrt'"),
        (["--backend", "litert"], 11, "litert runs none of them here"),
        (["--trust", "nowhere"], 2, "--trust nowhere: no such file or folder"),
        (["--bundle", "nowhere"], 7, "nowhere"),
    ],
)
def test_wrong_options_are_explained(make_bundle, bare, arguments, code, words) -> None:
    done = benchmark("--bundle", make_bundle(formats=("onnx",)), *arguments, path=bare)
    assert words in done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr
