"""A process of its own that puts numbered messages into a queue: to be killed, or to run out of disk."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "edge"))

from cvforge_edge.sinks.disk_queue import DiskQueue


def main(folder: str, *, file_limit: int, count: int) -> None:
    """Put in messages 0, 1, 2 ...; each is announced on standard output once `append` has returned."""
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    queue = DiskQueue(Path(folder), limit_bytes=16_000_000)
    for index in range(count):
        queue.append(b"%d " % index + b"x" * 500)
        sys.stdout.write(f"{index}\n")
        sys.stdout.flush()
    if not file_limit:
        return
    found = []
    while (record := queue.read()) is not None:
        found.append(int(record.body.split()[0]))
    in_memory = queue.only_in_memory
    queue.close()
    sys.stdout.write(f"in order: {found == list(range(count))}, in memory: {in_memory}, dropped: {queue.dropped}\n")


if __name__ == "__main__":
    main(sys.argv[1], file_limit=int(sys.argv[2]), count=int(sys.argv[3]))
