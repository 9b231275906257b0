"""A session of a browser as a signed text that lasts a month, also where the clock of the device jumps by years."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from pathlib import Path

SESSION_S = 30 * 24 * 3600
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Sessions:
    """Makes sessions and knows its own again, also after a restart: nothing is stored.

    Within one boot of the device the monotonic clock decides, so no change of the clock ends a session or prolongs it. After
    a reboot the clock has to: a session whose end is further away than a whole session was made while it went wrong.

    Args:
        token: that signs them; another token ends every session.
    """

    def __init__(self, token: str) -> None:
        self._key = token.encode()
        try:
            boot = BOOT_ID.read_text("ascii").strip()
        except OSError:  # no Linux: each process is a boot of its own
            boot = secrets.token_hex()
        self._boot = self._signature(f"boot {boot}")[:16]

    def make(self) -> str:
        """A session that begins now: boot, seconds since its begin, end as seconds since 1970, signature."""
        session = f"{self._boot}.{int(time.monotonic())}.{int(time.time()) + SESSION_S}"
        return f"{session}.{self._signature(session)}"

    def is_valid(self, text: str) -> bool:
        """Whether a text is a session of this token that has not ended."""
        session, _, signature = text.rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", errors="replace"), self._signature(session).encode()):
            return False
        boot, begun, ends = session.split(".")  # signed by us, so it has three parts
        if boot == self._boot:
            return time.monotonic() - int(begun) < SESSION_S
        return 0 < int(ends) - time.time() <= SESSION_S

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, f"session {text}".encode("utf-8", errors="replace"), hashlib.sha256).hexdigest()
