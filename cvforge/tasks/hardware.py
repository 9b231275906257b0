"""What the machine computes fast: number format, threads and memory order, chosen once and said aloud."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch

_log = logging.getLogger(__name__)
BUSY_SHARE = 0.6  # of the cores, taken by others


@dataclass(frozen=True)
class Hardware:
    """How a run uses its machine.

    Attributes:
        accelerator: Lightning's name: `cpu`, `gpu` or `mps`.
        precision: Lightning's name of the number format.
        threads: torch threads of one process; they matter on the CPU only.
        reason: why this number format.
    """

    accelerator: str
    precision: str
    threads: int
    reason: str

    def apply(self) -> None:
        """Set the process's threads and say what was chosen, and what would be faster on a busy machine."""
        torch.set_num_threads(self.threads)
        _log.info(
            "hardware: %s, precision %s (%s), %d threads, channels last",
            self.accelerator,
            self.precision,
            self.reason,
            self.threads,
        )
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        if self.accelerator == "cpu" and self.threads > 1 and load > BUSY_SHARE * physical_cores():
            _log.warning(
                "other processes keep this machine busy (load %.1f): waiting threads that spin make it worse; "
                "trainer.threads=1, or OMP_WAIT_POLICY=PASSIVE in the environment, is faster here",
                load,
            )


def choose_hardware(*, accelerator: str, precision: str, threads: int | None, processes: int = 1) -> Hardware:
    """The settings of a run on this machine.

    Args:
        accelerator: `auto`, or Lightning's name of one.
        precision: `auto`, or Lightning's name of a number format, which is then taken as it is.
        threads: torch threads of each process; None: the physical cores divided among the processes.
        processes: training processes on this machine.
    """
    found = _resolve_accelerator(accelerator)
    chosen, reason = (precision, "as configured") if precision != "auto" else _fastest_precision(found)
    return Hardware(found, chosen, threads or max(1, physical_cores() // processes), reason)


def physical_cores() -> int:
    """Cores that this process may use, without counting hyper-threads twice."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_core_of(cpu) for cpu in usable}
    return max(1, len(cores))


def _core_of(cpu: int) -> tuple[str, str]:
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (topology / "physical_package_id").read_text().strip(), (topology / "core_id").read_text().strip()
    except OSError:  # not Linux, or hidden by the container: every processor counts as a core
        return "unknown", str(cpu)


def _resolve_accelerator(accelerator: str) -> str:
    if accelerator in ("gpu", "cuda"):
        return "gpu"
    if accelerator != "auto":
        return accelerator
    if torch.cuda.is_available():
        return "gpu"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _fastest_precision(accelerator: str) -> tuple[str, str]:
    if accelerator == "gpu" and torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "the GPU computes bfloat16"
        return "16-mixed", "the GPU computes float16 but not bfloat16"
    if accelerator == "cpu" and cpu_computes_bfloat16():
        return "bf16-mixed", "the processor computes bfloat16"
    return "32-true", f"{accelerator} computes no shorter format natively"


def cpu_computes_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; oneDNN also accepts others, and emulates slowly."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))
    return native and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
