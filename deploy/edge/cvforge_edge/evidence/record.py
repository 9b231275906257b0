"""The JSON beside each hard frame: why it was kept, what the model said, which model, where and when.

```
{"schema_version": 1,
 "reasons": [{"kind": "flicker", "value": 0.81, "text": "...", "label": "person", "box_xyxy": [..]}, ...],
 "model": {"name": "...", "version": 3, "manifest_sha256": "...", "task": "detection", "labels": [...]},
 "picture": {"file": "NAME.jpg", "kind": "original"},
 "frame": 17, "time_s": 0.57, "unix_time_s": null, "source": "clip.mp4", "width": 640, "height": 360,
 "detections": [...],
 "stored_unix_s": 1795442701.2,
 "likeness": {...}}
```
Reasons have the strongest first, `picture.file` is null where no pictures are kept. The keys from `frame` on are those of a line
of `--json` (`sinks/jsonl.py`), with boxes in pixels of the kept picture. For segmentation `NAME.classes.png` holds the class of
every pixel (255 is void). `likeness` is for comparing frames with each other.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvforge_edge.bundle import Bundle
from cvforge_edge.evidence.likeness import Likeness
from cvforge_edge.evidence.reason import Reason
from cvforge_edge.evidence.seen import Seen
from cvforge_edge.frame import Frame, Result
from cvforge_edge.plain_file import read_plain_file
from cvforge_edge.records import dataclass
from cvforge_edge.sinks.jsonl import json_record
from cvforge_edge.strict_json import Fields, parse_strict

RECORD_SCHEMA_VERSION = 1
MAX_RECORD_BYTES = 1 << 20
FRAME_NAME = re.compile("[A-Za-z0-9-]+_[0-9]{8,}_[0-9a-f]{8}")
RECORD_SUFFIX, CLASSES_SUFFIX = ".json", ".classes.png"
SUFFIXES = (RECORD_SUFFIX, ".jpg", ".png", CLASSES_SUFFIX)
"""Of the files that a frame may have, the record first."""
LONGEST_STEM = 40


@dataclass(frozen=True, eq=False)
class StoredRecord:
    """What of a record the folder needs again after a restart.

    Attributes:
        value: of the strongest reason.
        stored_unix_s: when it was stored.
        manifest_sha256: of the model.
        likeness: what others are compared with.
    """

    value: float
    stored_unix_s: float
    manifest_sha256: str
    likeness: Likeness


def frame_name(frame: Frame) -> str:
    """The name of a frame's files: the same frame of the same source always has the same.

    `20261123T140501Z_00000017_1a2b3c4d` for a camera, `clip_00000017_1a2b3c4d` for a file; the end tells sources apart.
    """
    if frame.unix_time_s is None:
        stem = (
            "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(frame.source).stem)[:LONGEST_STEM] or "file"
        )
    else:
        stem = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(frame.unix_time_s))
    return f"{stem}_{frame.index:08d}_{hashlib.sha256(frame.source.encode()).hexdigest()[:8]}"


def record_value(
    seen: Seen,
    reasons: tuple[Reason, ...],
    *,
    bundle: Bundle,
    likeness: Likeness,
    picture: tuple[str, str] | None,
    stored_unix_s: float,
) -> dict[str, Any]:
    """The content of a record, as the top of this file describes it.

    Args:
        seen: the frame.
        reasons: the strongest first; at least one.
        bundle: of the model.
        likeness: of what is stored.
        picture: name of its file and what of the picture it holds; None where there is none.
        stored_unix_s: now.
    """
    manifest = bundle.manifest
    shown = replace(seen.frame, image_bgr=seen.glance.image_bgr)
    return {
        "schema_version": RECORD_SCHEMA_VERSION,
        "reasons": [reason.to_value() for reason in reasons],
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "manifest_sha256": bundle.manifest_sha256,
            "task": manifest.task.value,
            "labels": list(manifest.labels),
        },
        "picture": {"file": picture and picture[0], "kind": picture[1] if picture else "none"},
        **json_record(Result(shown, seen.glance.prediction, manifest.labels)),
        "stored_unix_s": round(stored_unix_s, 3),
        "likeness": likeness.to_value(),
    }


def read_record(path: Path) -> StoredRecord | None:
    """What a record says; None where it is damaged or of another kind."""
    try:
        value = parse_strict(read_plain_file(path, limit_bytes=MAX_RECORD_BYTES).decode("utf-8"))
    except (OSError, ValueError):
        return None
    problems: list[str] = []
    fields = Fields(value, key="", problems=problems)
    model, likeness, reasons = fields.object("model"), fields.object("likeness"), fields.objects("reasons")
    stored = fields.number("stored_unix_s")
    values = [one.number("value") for one in reasons or ()]
    sha256 = None if model is None else model.text("manifest_sha256")
    like = None if likeness is None else Likeness.read(likeness)
    if problems or not values or like is None or sha256 is None or stored is None or values[0] is None:
        return None
    return StoredRecord(values[0], stored, sha256, like)
