"""Checkpoints on disk: whole or not at all, and read only when they fit."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from cvforge.checkpoint import check_fits, identity, net_state, read_checkpoint, trained_state, write_checkpoint
from cvforge.errors import CheckpointError, StorageError
from tiny_run import LABELS, TinyNet, tiny_run


def checkpoint(value: float = 1.0) -> dict[str, object]:
    state = {"net.weight": torch.full((50, 50), value)}
    return {"state_dict": state, "cvforge": identity("detection", ("cat", "dog"))}


def value_of(path: Path) -> float:
    return float(read_checkpoint(path)["state_dict"]["net.weight"][0, 0])


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(1.0), path)
    real_open = Path.open

    def open_full(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if "w" in mode:
            self.touch()
            return real_open(Path("/dev/full"), mode)
        return real_open(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(StorageError, match="No space left on device.*earlier checkpoint is intact") as caught:
        write_checkpoint(checkpoint(2.0), path)
    monkeypatch.undo()
    assert caught.value.exit_code == 10
    assert value_of(path) == 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_an_error_that_is_not_about_storage_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match="a bug"):
        write_checkpoint(checkpoint(), tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_stops_a_run_and_leaves_its_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    real_save = torch.save

    def save(value: object, file: object) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(value)
        real_save(value, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(StorageError):
        tiny_run(tmp_path)
    monkeypatch.undo()
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 1
    assert tiny_run(tmp_path, resume=True).trainer.global_step == 24


@pytest.mark.parametrize("kept", [0, 100, 4000])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "best.ckpt"
    write_checkpoint(checkpoint(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"best\.ckpt: the file is damaged or not a checkpoint"):
        read_checkpoint(path)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.ckpt: there is no such checkpoint"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "cvforge": Path("x")}, path)
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        read_checkpoint(path)


def test_bare_weights_are_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of CVForge"):
        read_checkpoint(tmp_path / "weights.pth")


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    write_checkpoint(checkpoint(), tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match="trained for detection, but segmentation is asked for"):
        read_checkpoint(tmp_path / "best.ckpt", task="segmentation")


def test_a_checkpoint_of_other_labels_is_refused(tmp_path: Path) -> None:
    write_checkpoint(checkpoint(), tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"knows 2 labels \(cat, dog\), but the data has 1 labels \(cat\)"):
        read_checkpoint(tmp_path / "best.ckpt", labels=("cat",))


def test_weights_of_another_model_are_refused_with_the_tensors_that_differ() -> None:
    with pytest.raises(
        CheckpointError, match=r"backbone\.0\.bias: the model has \(4,\), the file \(8,\).* and \d+ more"
    ):
        check_fits(TinyNet(4), TinyNet(8).state_dict(), where="best.ckpt")


def test_best_holds_the_highest_score_and_the_average_is_what_is_used(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt", task="classification", labels=LABELS)
    recorded = best["callbacks"]["RunCheckpoints"]
    assert recorded["best_score"] == recorded["best_scores"]["top1"] == run.checkpoints.best_score
    assert best["epoch"] == run.checkpoints.best_epoch
    average, trained = net_state(best), trained_state(best)
    check_fits(TinyNet(), average, where="best")
    assert not torch.equal(average["head.weight"], trained["head.weight"])
    assert torch.equal(average["head.weight"], best["state_dict"]["ema_net.head.weight"])
