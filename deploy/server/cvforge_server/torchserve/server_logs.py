"""What TorchServe writes down: a line for each request in two files, and of its own doings what a person looks for.

Its own configuration writes more than twenty lines for each request, some of them twice, into files and to its output, which is a
file here that nobody rotates: 7 kB a request, and more processor time than anything else that it does.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

LOG_CONFIG_NAME = "log4j2.xml"
OUTPUT_NAME, OWN_NAME, MODEL_NAME, ACCESS_NAME = "server.log", "ts_log.log", "model_log.log", "access_log.log"
REFUSAL = "the model cannot be loaded:"
"""A worker says it when it gives up for a reason that trying again does not mend."""
LARGEST_MB, KEPT = 50, 5
FULL = "%d{ISO8601} [%-5p] %t %c - %m%n"
BARE = "%d{ISO8601} - %m%n"
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


def log_configuration() -> str:
    """The content of the file that `--log-config` names, for Log4j 2.

    `access_log.log` has each request, `model_log.log` what the workers say, `ts_log.log` and the output what the server says.
    Each file is set aside at 50 MB, and five of them are kept.
    """
    files = "\n".join(_file(name, layout) for name, layout in FILES.items())
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="output" target="SYSTEM_OUT"><PatternLayout pattern={quoteattr(FULL)}/></Console>
{files}
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="info" additivity="false"><AppenderRef ref="{ACCESS_NAME}"/></Logger>
    <Logger name="MODEL_LOG" level="info" additivity="false"><AppenderRef ref="{MODEL_NAME}"/></Logger>
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
    """Why a worker cannot load its model, as `model_log.log` says it; None where it does not.

    Args:
        log: the file; it may be missing.
        after: bytes at its beginning that are of an earlier start.
    """
    try:
        with log.open("rb") as file:
            file.seek(after)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    _, found, reason = text.partition(REFUSAL)
    return reason.partition("\n")[0].strip() if found else None


FILES = {OWN_NAME: FULL, MODEL_NAME: FULL, ACCESS_NAME: BARE}


def _file(name: str, layout: str) -> str:
    place = "${env:LOG_LOCATION:-logs}/" + name
    return f"""    <RollingFile name="{name}" fileName="{escape(place)}" filePattern="{escape(place)}.%i.gz">
      <PatternLayout pattern={quoteattr(layout)}/>
      <Policies><SizeBasedTriggeringPolicy size="{LARGEST_MB} MB"/></Policies>
      <DefaultRolloverStrategy max="{KEPT}"/>
    </RollingFile>"""


def _logger(name: str, pattern: str) -> str:
    """The raw message is looked at, before its arguments are put into it."""
    return f"""    <Logger name="{name}" level="info">
      <RegexFilter regex={quoteattr(pattern)} useRawMsg="true" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>"""
