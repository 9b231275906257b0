"""The kinds of heads that can be imported, by the name that `--kind` takes."""

from __future__ import annotations

from cvforge.export.heads import classes, end2end, fastestdet, torchvision, ultralytics
from cvforge.export.heads.head import Head

HEADS: dict[str, Head] = {
    "fastestdet": fastestdet.HEAD,
    "ultralytics": ultralytics.HEAD,
    "end2end": end2end.HEAD,
    "torchvision": torchvision.HEAD,
    "logits": classes.LOGITS,
    "probs": classes.PROBS,
}
