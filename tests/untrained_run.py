"""Run folders as training leaves them, with networks that nobody trained: commands are tested on them in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from cvforge.checkpoint import IDENTITY_KEY, NET_PREFIX, identity, write_checkpoint
from cvforge.config import build
from cvforge.config.load import load, resolved_yaml


def write_untrained_run(
    folder: Path, config_name: str, overrides: Sequence[str], *, change: Callable[[nn.Module], None] | None = None
) -> Path:
    """Write config, data record and best checkpoint of a run; `change` may set weights before they are written."""
    torch.set_num_threads(1)
    config = load(config_name, list(overrides))
    labels = build.build_dataset(config, "val").labels
    torch.manual_seed(0)
    net = build.build_net(config, pretrained=False)
    if change is not None:
        change(net)
    state = {f"{NET_PREFIX}{name}": tensor for name, tensor in net.state_dict().items()}
    write_checkpoint(
        {"state_dict": state, IDENTITY_KEY: identity(config.task, labels)}, folder / "checkpoints" / "best.ckpt"
    )
    (folder / "config.yaml").write_text(resolved_yaml(config))
    (folder / "data.json").write_text(json.dumps({"task": config.task, "labels": list(labels)}))
    return folder
