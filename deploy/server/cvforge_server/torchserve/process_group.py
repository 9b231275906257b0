"""A group of processes that is told from all others: who belongs to it, and how it is ended without harm to anybody else."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from cvforge_edge.records import dataclass
from cvforge_server.errors import ServerError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_FIELD = 22
"""Of `/proc/PID/stat`: ticks from the boot to the start, which no clock that is set changes (proc_pid_stat(5))."""
POLL_S = 0.05


@dataclass(frozen=True)
class ProcessGroup:
    """Processes that a leader has started, as a note tells them that may be older than the machine's last boot.

    Attributes:
        leader: number of the process, and of its group.
        birth: of the leader, as `birth` says it.
        temporary: folder of this group alone, which `TMPDIR` of each of its processes names.
    """

    leader: int
    birth: str
    temporary: str

    @property
    def led(self) -> bool:
        """Whether the leader is still there, and the same."""
        return birth(self.leader) == self.birth or self._has_our_folder(self.leader)

    def members(self) -> list[int]:
        """Processes of the group that have not ended; another group of the same number has none.

        Where the leader has ended, its number may be another's by now: then a process belongs to us that was given our folder.
        """
        import psutil

        led = self.led
        return [
            pid
            for pid in psutil.pids()
            if _group(pid) == self.leader and birth(pid) is not None and (led or self._has_our_folder(pid))
        ]

    def end(self, *, within_s: float) -> None:
        """Ask all members to end, and end those that do not.

        Args:
            within_s: so long they may take by themselves, and once more when they are ended.

        Raises:
            ServerError: one belongs to another user, or does not end.
        """
        asked = self._births()
        _signal(asked, signal.SIGTERM)
        until_s = time.monotonic() + within_s
        while self._left(asked) and time.monotonic() < until_s:
            time.sleep(POLL_S)
        until_s = time.monotonic() + within_s
        while left := self._left(asked):
            if time.monotonic() > until_s:
                numbers = ", ".join(map(str, sorted(left)))
                raise ServerError(
                    f"processes {numbers} do not end; restart the machine, or see why the system holds them"
                )
            _signal(left, signal.SIGKILL)
            time.sleep(POLL_S)

    def _births(self) -> dict[int, str | None]:
        return {pid: birth(pid) for pid in self.members()}

    def _left(self, asked: dict[int, str | None]) -> dict[int, str | None]:
        """Those that were asked and have not ended, and those that have been started since."""
        return {**{pid: born for pid, born in asked.items() if born and birth(pid) == born}, **self._births()}

    def _has_our_folder(self, pid: int) -> bool:
        """Of a process of another user nobody but root can know."""
        import psutil

        with contextlib.suppress(OSError, psutil.Error):
            return bool(psutil.Process(pid).environ().get("TMPDIR") == self.temporary)
        return False


def birth(pid: int) -> str | None:
    """What tells a process from a later one of the same number; None where there is none, or only its exit status is left.

    On Linux the boot and the ticks since then; elsewhere the time of the start, which moves where the clock is set.
    """
    import psutil

    try:
        if not BOOT_ID.exists():
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # from the third on
        return None if fields[0] in b"ZX" else f"{BOOT_ID.read_text().strip()} {int(fields[START_FIELD - 3])}"
    except (OSError, psutil.Error):
        return None


def _group(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return None


def _signal(births: dict[int, str | None], number: int) -> None:
    for pid, born in births.items():
        if born is None or birth(pid) != born:
            continue
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            raise ServerError(
                f"process {pid} belongs to another user; stop the server as the user who started it"
            ) from None
