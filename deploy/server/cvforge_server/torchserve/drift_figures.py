"""What the workers of a server have last said of drift, read from its metrics."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping

from cvforge_edge.evidence.position import LEVELS, OK
from cvforge_server.drift import LEVEL
from cvforge_server.errors import ServerError
from cvforge_server.torchserve.server_files import LOOPBACK

TIMEOUT_S = 5.0
_SAMPLE = re.compile(rf"{LEVEL}\{{(.*?),?\}} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
Levels = Mapping[str, Mapping[str, str]]


def read_drift(port: int) -> Levels:
    """By model the level of each quantity, the worst of all workers; without models that have no reference or too few pictures.

    Args:
        port: of the metrics.

    Raises:
        ServerError: the server does not answer.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"/metrics?name[]={LEVEL}")
        text = connection.getresponse().read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise ServerError(f"port {port} (metrics): no answer ({error})") from None
    finally:
        connection.close()
    found: dict[str, dict[str, str]] = {}
    for labels_text, number in _SAMPLE.findall(text):
        labels = dict(_LABEL.findall(labels_text))
        levels = found.setdefault(labels["model"], {})
        level = LEVELS[int(float(number))]
        levels[labels["quantity"]] = max(levels.get(labels["quantity"], OK), level, key=LEVELS.index)
    return found


def drift_line(levels: Mapping[str, str]) -> str:
    """For people: `drift: brightness, scores; notice: colors`, or `drift: none`."""
    parts = [
        f"{level}: {', '.join(sorted(quantity for quantity, found in levels.items() if found == level))}"
        for level in reversed(LEVELS)
        if level != OK and level in levels.values()
    ]
    return "; ".join(parts) or "drift: none"
