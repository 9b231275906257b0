"""Messages to systemd: ready, alive, reloading, stopping; nothing happens where no systemd listens.

Source: sd_notify(3), the datagram protocol of NOTIFY_SOCKET; sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import time


def notify(*lines: str) -> bool:
    """Send lines such as `READY=1`; whether somebody listens.

    A message that cannot be sent is no reason to stop a camera.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract namespace of Linux
    import socket  # most processes have no systemd to talk to

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.sendto("\n".join(lines).encode("utf-8"), address)
    except OSError:
        return False
    return True


def watchdog_interval_s() -> float | None:
    """How often systemd wants to hear `WATCHDOG=1` from this process: half of its patience; None: not at all."""
    process, period_us = os.environ.get("WATCHDOG_PID"), os.environ.get("WATCHDOG_USEC", "")
    if not period_us.isdecimal() or int(period_us) == 0 or (process is not None and process != str(os.getpid())):
        return None
    return int(period_us) / 2e6


def notify_reloading() -> bool:
    """Tell systemd that a new configuration is being read, as `Type=notify-reload` expects."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
