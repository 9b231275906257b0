"""What `tools/serve.py archive` puts into an archive for its worker, and what it says of a name of before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvforge_server.commands import archive
from cvforge_server.torchserve.model_config import OURS, ModelConfig
from server.bundles import build_batch_bundle


def test_so_many_requests_are_gathered_as_a_forward_pass_takes_images(tmp_path: Path) -> None:
    bundle = build_batch_bundle(tmp_path / "b")
    archive.main(["--bundle", str(bundle), "--store", str(tmp_path), "--name", "m", "--batch-size", "4"])
    value = json.loads((tmp_path / "m" / "model-config.yaml").read_text())
    assert value["batchSize"] == value[OURS]["batch_size"] == ModelConfig.read(value).batch_size == 4


def test_the_old_name_of_the_batch_size_says_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        archive.main(["--bundle", "b", "--batch", "8"])
    assert ended.value.code == 2
    assert "argument --batch: is now called --batch-size" in capsys.readouterr().err
