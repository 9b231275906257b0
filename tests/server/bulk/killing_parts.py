"""A program that makes parts again and again in copies of itself, each killed (-9) one step later than the last.

`python killing_parts.py FOLDER` prints one line of JSON for each killed copy: before what it was killed, the parts that it left,
and the images that have rows when the next run is through.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from edge.conftest import build_bundle
from export.killing import Job, killed_before
from server.bulk.conftest import NAMES
from server.bulk.making import job_for, make_photos, names_of, run_here

MAX_STEPS = 300


def main() -> None:
    place = Path(sys.argv[1])
    photos, work = make_photos(place / "photos", NAMES), place / "work"
    bulk = job_for(build_bundle(place / "bundle", "detector", formats=("onnx",), golden=False), photos, work)
    job = Job(run=lambda _: run_here(bulk), state=str, prepare=lambda _: None)
    for step in range(1, MAX_STEPS):
        shutil.rmtree(work, ignore_errors=True)
        event = killed_before(job, work, step)
        if event is None:
            return
        left = sorted(path.name for path in (work / "parts").glob("*.parquet")) if work.exists() else []
        run_here(bulk)
        hidden = sorted(path.name for path in (work / "parts").iterdir() if path.name.startswith("."))
        line = {"event": event, "left": left, "rows": names_of(work, photos), "hidden": hidden}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()  # or the next copy of this process would have it too
    raise SystemExit(f"not done after {MAX_STEPS} steps")


if __name__ == "__main__":
    main()
