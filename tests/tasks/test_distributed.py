"""Two processes train one model: same weights in both, and the score of a single process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import REPOSITORY
from cvforge.checkpoint import net_state, read_checkpoint
from tiny_run import tiny_data, tiny_task

SCRIPT = """
import sys
from pathlib import Path
import torch
from tiny_run import tiny_run

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    run = tiny_run(folder, max_epochs=2, devices=2, strategy="ddp", accelerator="cpu")
    state = {"weights": dict(run.task.state_dict()), "scores": run.task.scores, "steps": run.trainer.global_step}
    torch.save(state, folder / f"rank{run.trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights_and_the_score_of_one(tmp_path: Path) -> None:
    script = tmp_path / "train_two.py"
    script.write_text(SCRIPT)
    paths = [str(REPOSITORY / part) for part in ("tests", ".", "deploy/edge")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, tensor in first["weights"].items():
        if not name.endswith(("running_mean", "running_var")):  # of each process's own images; rank 0's are kept
            assert torch.equal(tensor, second["weights"][name]), name
    assert first["steps"] == 6  # 44 images in batches of 8, shared by two
    assert first["scores"] == second["scores"]

    task = tiny_task()
    task.net.load_state_dict(net_state(read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")))
    task.eval()
    with torch.no_grad():
        for batch in tiny_data().val_dataloader():
            task.validation_step(batch, 0)
    assert task.metric.compute() == first["scores"]
