"""Which GPU a worker uses: the one that TorchServe gave it."""

from __future__ import annotations

from collections.abc import MutableMapping

VISIBLE = "CUDA_VISIBLE_DEVICES"


def choose_gpu(gpu_id: object, environment: MutableMapping[str, str]) -> None:
    """Let this process see one GPU only, before any runtime looks for them: runtimes take the first that they see.

    Args:
        gpu_id: as TorchServe counts those that the server sees; None where it uses none.
        environment: of the process.
    """
    if gpu_id is None or not str(gpu_id).isdecimal():
        return
    number = int(str(gpu_id))
    visible = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    environment[VISIBLE] = visible[number] if number < len(visible) else str(number)
