"""The choice of number format and threads."""

from __future__ import annotations

import logging

import pytest
import torch

from cvforge.tasks import hardware
from cvforge.tasks.hardware import Hardware, choose_hardware, physical_cores


def test_what_is_configured_is_taken_as_it_is() -> None:
    chosen = choose_hardware(accelerator="cpu", precision="32-true", threads=3)
    assert chosen == Hardware("cpu", "32-true", 3, "as configured")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_uses_bfloat16_where_the_processor_computes_it(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cpu_computes_bfloat16", lambda: native)
    assert choose_hardware(accelerator="cpu", precision="auto", threads=None).precision == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_auto_uses_sixteen_bits_on_every_gpu(native: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_hardware(accelerator="auto", precision="auto", threads=1) == Hardware(
        "gpu", expected, 1, f"the GPU computes {'bfloat16' if native else 'float16 but not bfloat16'}"
    )


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "physical_cores", lambda: 8)
    assert choose_hardware(accelerator="cpu", precision="32-true", threads=None, processes=3).threads == 2
    assert choose_hardware(accelerator="cpu", precision="32-true", threads=None, processes=99).threads == 1


def test_there_is_at_least_one_core_and_no_more_than_processors() -> None:
    assert 1 <= physical_cores() <= (torch.get_num_threads() and __import__("os").cpu_count())


def test_the_choice_is_said_aloud_and_a_busy_machine_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(hardware.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    with caplog.at_level(logging.INFO, logger="cvforge"):
        Hardware("cpu", "bf16-mixed", 2, "the processor computes bfloat16").apply()
    assert "precision bf16-mixed (the processor computes bfloat16), 2 threads" in caplog.text
    assert "load 99.0" in caplog.text
