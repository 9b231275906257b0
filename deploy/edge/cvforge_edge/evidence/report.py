"""`drift.json`, which people and fleets read, and `drift_state.json`, from which the next run goes on.

`drift.json`:
```
{"schema_version": 1, "written_unix_s": 1795442701.2, "level": "drift",
 "model": {"name": "...", "version": 3, "manifest_sha256": "..."}, "has_reference": true,
 "cameras": {"NAME": {"level": "drift", "drifting": ["brightness"],
   "hour": {"images": 7200, "findings": [{"quantity", "level", "found", "usual", "text"}, ...]},
   "since_start": {...}}}}
```
The level of a camera is that of its last hour. `drifting` are drifts that have begun and not ended (events), findings are those
of this moment, the strongest first.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from cvforge_edge.bundle import Bundle
from cvforge_edge.errors import BundleError
from cvforge_edge.evidence.drift import DriftWatch, worst_level
from cvforge_edge.evidence.position import LEVELS, OK
from cvforge_edge.evidence.windows import HOUR, SINCE_START
from cvforge_edge.plain_file import read_plain_file
from cvforge_edge.private_file import write_private_file
from cvforge_edge.strict_json import Fields, format_json, parse_strict

REPORT_NAME, STATE_NAME = "drift.json", "drift_state.json"
REPORT_SCHEMA_VERSION = STATE_SCHEMA_VERSION = 1
MAX_STATE_BYTES = 64 * 1024 * 1024

logger = logging.getLogger(__name__)


def write_report(folder: Path, drift: DriftWatch, bundle: Bundle, *, unix_time_s: float) -> None:
    """Write `drift.json` from the last judgement.

    Raises:
        StorageError: it cannot be written; the one before is still there.
    """
    cameras = {
        camera.name: {
            "level": worst_level(camera.findings.get(HOUR, ())),
            "drifting": sorted(camera.drifting),
            **{
                window: {
                    "images": camera.images.get(window, 0),
                    "findings": [finding.to_value() for finding in camera.findings.get(window, ())],
                }
                for window in (HOUR, SINCE_START)
            },
        }
        for camera in drift.cameras
    }
    value = {
        "schema_version": REPORT_SCHEMA_VERSION,
        "written_unix_s": round(unix_time_s, 3),
        "level": max((camera["level"] for camera in cameras.values()), key=LEVELS.index, default=OK),
        "model": _model(bundle),
        "has_reference": drift.reference is not None,
        "cameras": cameras,
    }
    write_private_file(folder / REPORT_NAME, format_json(value).encode("utf-8"))


def write_state(folder: Path, drift: DriftWatch, bundle: Bundle, *, now_s: float, unix_time_s: float) -> None:
    """Write `drift_state.json`.

    Raises:
        StorageError: it cannot be written; the one before is still there.
    """
    value = {
        "schema_version": STATE_SCHEMA_VERSION,
        "written_unix_s": round(unix_time_s, 3),
        "manifest_sha256": bundle.manifest_sha256,
        "cameras": drift.to_value(now_s),
    }
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    write_private_file(folder / STATE_NAME, text.encode("utf-8"))


def restore_state(folder: Path, drift: DriftWatch, bundle: Bundle, *, now_s: float, unix_time_s: float) -> None:
    """Go on from `drift_state.json`; one of another model, or a damaged one, is left, and the windows begin anew."""
    path = folder / STATE_NAME
    problems: list[str] = []
    try:
        value = parse_strict(read_plain_file(path, limit_bytes=MAX_STATE_BYTES).decode("utf-8"))
        fields = Fields(value, key="", problems=problems)
        version, written_s = fields.integer("schema_version", low=1), fields.number("written_unix_s")
        sha256, cameras = fields.text("manifest_sha256"), fields.free("cameras")
        fields.finish()
        if problems or version != STATE_SCHEMA_VERSION or written_s is None:
            raise ValueError("; ".join(problems) or f"schema_version {version}, accepted {STATE_SCHEMA_VERSION}")
        if sha256 != bundle.manifest_sha256:
            logger.info("%s: of another model; drift is counted anew for %s", path, bundle.manifest.name)
            return
        asleep_s = max(0.0, unix_time_s - written_s)  # a clock that was set back may say less than nothing
        drift.restore(cameras, where=str(path), now_s=now_s, asleep_s=asleep_s)
    except FileNotFoundError:
        return
    except (ValueError, BundleError) as error:
        logger.warning("%s: cannot be read, drift is counted anew (%s)", path, error)


def _model(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {"name": manifest.name, "version": manifest.version, "manifest_sha256": bundle.manifest_sha256}
