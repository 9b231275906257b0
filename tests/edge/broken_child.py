"""Processes that end as no measurement should: `measure.CHILD` is replaced by one of these."""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def main() -> None:
    """Crash, hang, say nothing or fail on files whose names hold BROKEN_CHILD, as BROKEN_CHILD_KIND says; measure the others."""
    model = json.loads(sys.argv[1])["model"]
    if os.environ["BROKEN_CHILD"] not in model:
        from cvforge_edge.benchmark.child import main as measure

        sys.exit(measure())
    kind = os.environ["BROKEN_CHILD_KIND"]
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "hang":
        time.sleep(60)
    if kind == "silent":
        sys.stdout.write("{}\n")
        return
    sys.stderr.write("first line\nno such kernel\n")
    sys.exit(11)


if __name__ == "__main__":
    main()
