"""What TorchServe writes down: a line for each request in two files, and of its own doings what a person looks for.

Its own configuration writes more than twenty lines for each request, some of them twice, into files and to its output, which is a
file here that nobody rotates: 7 kB a request, and more processor time than anything else that it does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from cvforge_server.request_log import REFUSED

LOG_CONFIG_NAME = "log4j2.xml"
OUTPUT_NAME, OWN_NAME, MODEL_NAME, ACCESS_NAME = "server.log", "ts_log.log", "model_log.log", "access_log.log"
JSON_NAME = "cvforge.jsonl"
JSON_LINE = r'\{"time": .*'
"""As `cvforge_server.request_log` writes them, as a pattern of Java."""
WORKERS_NOISE = "Backend received inference at: "
"""Beginning of what TorchServe's part of a worker says at each request: the handler keeps it from being printed, and what is
printed all the same is not written down."""
LARGEST_MB, KEPT = 50, 5
FULL = "%d{ISO8601} [%-5p] %t %c - %m%n"
BARE, NOTHING_ELSE = "%d{ISO8601} - %m%n", "%m%n"
EACH_REQUEST = {
    "org.pytorch.serve.wlm.WorkerThread": "(Flushing req|Looping backend response|Backend response time).*",
    "org.pytorch.serve.wlm.WorkerLifeCycle": r"result=.*",
    "org.pytorch.serve.wlm.BatchAggregator": "Sending response for jobId.*",
    "org.pytorch.serve.job.RestJob": "Waiting time ns.*",
    "org.pytorch.serve.job.GRPCJob": "Waiting time ns.*",
    "org.pytorch.serve.ServerInitializer": "OIP added.*",
    "org.pytorch.serve.http.api.rest.OpenInferenceProtocolRequestHandler": "Handling OIP.*",
}
"""Loggers, and the beginnings of what they say about every request, as patterns of Java."""


def log_configuration(*, console: bool = False) -> str:
    """The content of the file that `--log-config` names, for Log4j 2.

    `access_log.log` has each request, `cvforge.jsonl` what our code in the workers says, one JSON object a line,
    `model_log.log` what else they say, such as the traceback of one that cannot start, `ts_log.log` and the output what the
    server says. Each file is set aside at 50 MB, and five of them are kept.

    Args:
        console: whether all that workers say goes to the output as well, as containers want it.
    """
    files = "\n".join(_file(name, layout) for name, layout in FILES.items())
    json_lines, others = [JSON_NAME, *["console"] * console], [MODEL_NAME, *["output"] * console]
    workers = [_chosen(name, JSON_LINE, match="ACCEPT", mismatch="DENY") for name in json_lines]
    workers += [_chosen(name, f"{JSON_LINE}|{WORKERS_NOISE}.*", match="DENY", mismatch="ACCEPT") for name in others]
    bare = f'\n    <Console name="console" target="SYSTEM_OUT"><PatternLayout pattern="{NOTHING_ELSE}"/></Console>'
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="output" target="SYSTEM_OUT"><PatternLayout pattern={quoteattr(FULL)}/></Console>{bare * console}
{files}
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="info" additivity="false"><AppenderRef ref="{ACCESS_NAME}"/></Logger>
    <Logger name="MODEL_LOG" level="info" additivity="false">
{chr(10).join(workers)}
    </Logger>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="io.netty" level="error"/>
    <Logger name="org.apache" level="off"/>
{chr(10).join(_logger(name, pattern) for name, pattern in EACH_REQUEST.items())}
    <Root level="info"><AppenderRef ref="output"/><AppenderRef ref="{OWN_NAME}"/></Root>
  </Loggers>
</Configuration>
"""


def refusal_in(log: Path, *, after: int) -> str | None:
    """The model that a worker cannot load, and why, as `cvforge.jsonl` says it; None where it does not.

    Args:
        log: the file; it may be missing.
        after: bytes at its beginning that are of an earlier start.
    """
    try:
        with log.open("rb") as file:
            file.seek(after)
            lines = file.read().decode("utf-8", "replace").splitlines(keepends=True)
    except OSError:
        return None
    events = (_event(line) for line in lines)
    return next((f"{event['model']}: {event['reason']}" for event in events if event.get("event") == REFUSED), None)


def _event(line: str) -> dict[str, Any]:
    """What a line says; nothing where only a part of it is there: the last one, or one that a full disk has cut off."""
    try:
        value = json.loads(line) if line.endswith("\n") else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


FILES = {OWN_NAME: FULL, MODEL_NAME: FULL, ACCESS_NAME: BARE, JSON_NAME: NOTHING_ELSE}


def _file(name: str, layout: str) -> str:
    place = "${env:LOG_LOCATION:-logs}/" + name
    return f"""    <RollingFile name="{name}" fileName="{escape(place)}" filePattern="{escape(place)}.%i.gz">
      <PatternLayout pattern={quoteattr(layout)}/>
      <Policies><SizeBasedTriggeringPolicy size="{LARGEST_MB} MB"/></Policies>
      <DefaultRolloverStrategy max="{KEPT}"/>
    </RollingFile>"""


def _chosen(appender: str, pattern: str, *, match: str, mismatch: str) -> str:
    return f"""      <AppenderRef ref="{appender}">
        <RegexFilter regex={quoteattr(pattern)} onMatch="{match}" onMismatch="{mismatch}"/>
      </AppenderRef>"""


def _logger(name: str, pattern: str) -> str:
    """The raw message is looked at, before its arguments are put into it."""
    return f"""    <Logger name="{name}" level="info">
      <RegexFilter regex={quoteattr(pattern)} useRawMsg="true" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>"""
