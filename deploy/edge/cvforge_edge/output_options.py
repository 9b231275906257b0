"""The options of a command that sends results elsewhere: CSV, MQTT, webhooks, and how large files may get."""

from __future__ import annotations

import argparse
import hashlib
import logging
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.errors import UsageError
from cvforge_edge.option_types import count, positive
from cvforge_edge.records import dataclass
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.line_file import STANDARD_OUTPUT
from cvforge_edge.sinks.rotation import DEFAULT_KEEP, Rotation

if TYPE_CHECKING:
    from cvforge_edge.sinks.mqtt_settings import MqttSettings
    from cvforge_edge.sinks.outgoing import OutgoingSpec
    from cvforge_edge.sinks.sink import Sink
    from cvforge_edge.sinks.webhook_settings import WebhookSettings

MB = 1_000_000
DEFAULT_QUEUE_MB = 64
DEFAULT_TIMEOUT_S = 10.0
LONGEST_ADDRESS_BYTES = 8192
CONTENTS = tuple(content.value for content in Content)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
COMPANIONS = {
    "--mqtt": ("mqtt_content", "mqtt_ca", "mqtt_qos", "mqtt_version"),
    "--webhook": ("webhook_content", "webhook_ca", "webhook_timeout", "webhook_picture"),
    "--csv": ("csv_content",),
    "--mqtt or --webhook": ("send_rate", "queue", "queue_limit"),
    "--rotate": ("rotate_keep",),
}
"""Options that mean nothing without another one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputPlan:
    """What the options ask for, checked before anything is opened.

    Attributes:
        csv: file, `-` for standard output, or None.
        csv_content: what becomes rows.
        rotation: of the files of --json and --csv and of videos; None lets them grow.
        mqtt: where to, and what; None for nowhere.
        webhook: likewise.
    """

    csv: str | None = None
    csv_content: Content = Content.RESULTS
    rotation: Rotation | None = None
    mqtt: tuple[MqttSettings, OutgoingSpec] | None = None
    webhook: tuple[WebhookSettings, OutgoingSpec] | None = None

    def open(self, *, resources: ExitStack) -> list[Sink]:
        """Open the outputs.

        Args:
            resources: closes the outputs in the end; closing them earlier does no harm.

        Raises:
            BackendError: paho-mqtt is not installed.
            StorageError: a file or a queue cannot be created.
            UsageError: another process uses a queue.
        """
        sinks: list[Sink] = []
        if self.mqtt is not None:  # first, since a file that is there already would be replaced
            from cvforge_edge.sinks.mqtt import Mqtt

            sinks.append(Mqtt(*self.mqtt))
            resources.callback(sinks[-1].close)
        if self.webhook is not None:
            from cvforge_edge.sinks.webhook import Webhook

            sinks.append(Webhook(*self.webhook))
            resources.callback(sinks[-1].close)
        if self.csv is not None:
            from cvforge_edge.sinks.csv_rows import CsvRows

            sinks.append(CsvRows(self.csv, content=self.csv_content, rotation=self.rotation))
            resources.callback(sinks[-1].close)
        return sinks


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """CSV, rotation of files, MQTT, webhooks."""
    _add_file_options(parser)
    title = "network (nothing waits for it: what cannot be sent waits on disk, also over restarts; see README.md)"
    send = parser.add_argument_group(title).add_argument
    _add_mqtt_options(send)
    _add_webhook_options(send)
    _add_queue_options(send)


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files of results").add_argument
    files("--csv", metavar="FILE", help="a row for each detection, class or share; - is standard output")
    files("--csv-content", choices=CONTENTS, help="what becomes rows (default: results)")
    rotate_help = (
        "set the files of --json and --csv and the videos of --save aside (the newest is FILE.1, NAME.1.mp4) at so many MB "
        "of 10^6 bytes"
    )
    files(
        "--rotate",
        type=count,
        metavar="MB",
        help=f"{rotate_help}, and at a restart (default: they grow, and are replaced)",
    )
    files("--rotate-keep", type=count, metavar="N", help=f"of each, keep so many set aside (default: {DEFAULT_KEEP})")


def _add_mqtt_options(send: Callable[..., argparse.Action]) -> None:
    mqtt_help = "mqtt[s]://[user@]host[:port]/topic; password in CVFORGE_MQTT_PASSWORD, or its file in CVFORGE_MQTT_PASSWORD_FILE"
    send("--mqtt", metavar="ADDRESS", help=mqtt_help)
    send("--mqtt-content", choices=CONTENTS, help="what goes to topic/results and topic/events (default: both)")
    send("--mqtt-ca", metavar="FILE", help="certificates (PEM) to check the broker's with (default: the system's)")
    send(
        "--mqtt-qos",
        type=int,
        choices=(0, 1),
        help="1 (default): each message until it is acknowledged; 0: once, it may be lost",
    )
    send("--mqtt-version", choices=("5", "3.1.1"), help="of MQTT (default: 5; 3.1.1 for old brokers)")


def _add_webhook_options(send: Callable[..., argparse.Action]) -> None:
    webhook_help = (
        "http[s] address that takes a POST for each message, or @FILE that holds it; secrets in CVFORGE_WEBHOOK_TOKEN (sent as "
        "bearer token) and CVFORGE_WEBHOOK_KEY (signs the body: HMAC-SHA256), each with _FILE, too"
    )
    send("--webhook", metavar="ADDRESS", help=webhook_help)
    send("--webhook-content", choices=CONTENTS, help="what is sent (default: events)")
    send(
        "--webhook-picture", action="store_true", default=None, help="events bring their annotated picture along (JPEG)"
    )
    send("--webhook-ca", metavar="FILE", help="certificates (PEM) to check the server's with (default: the system's)")
    timeout_help = f"how long the server may be silent (default: {DEFAULT_TIMEOUT_S:g})"
    send("--webhook-timeout", type=positive, metavar="SECONDS", help=timeout_help)


def _add_queue_options(send: Callable[..., argparse.Action]) -> None:
    send(
        "--send-rate",
        type=positive,
        metavar="R",
        help="send at most R results a second of each source; events all (default: all)",
    )
    send(
        "--queue",
        metavar="FOLDER",
        help="where messages wait (default: queue in the state folder, see README.md)",
    )
    limit_help = (
        f"MB that may wait of results, and of events; beyond, the oldest are dropped (default: {DEFAULT_QUEUE_MB})"
    )
    send("--queue-limit", type=count, metavar="MB", help=limit_help)


def plan_outputs(options: argparse.Namespace) -> OutputPlan:
    """What the options ask for.

    Raises:
        UsageError: an address, a secret, a file or a pair of options cannot work.
    """
    _check_companions(options)
    rotation = None
    if options.rotate is not None:
        rotation = Rotation(options.rotate * MB, options.rotate_keep or DEFAULT_KEEP)
    return OutputPlan(
        csv=options.csv,
        csv_content=Content(options.csv_content or Content.RESULTS),
        rotation=rotation,
        mqtt=None if options.mqtt is None else _plan_mqtt(options),
        webhook=None if options.webhook is None else _plan_webhook(options),
    )


def _check_companions(options: argparse.Namespace) -> None:
    given = {
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if value is not None and value is not False
    }
    for needed, companions in COMPANIONS.items():
        alone = sorted({f"--{name.replace('_', '-')}" for name in companions} & given)
        if alone and not set(needed.split(" or ")) & given:
            raise UsageError(f"{', '.join(alone)}: belongs to {needed}, which is not given")
    if options.rotate is not None and not _can_rotate(options):
        raise UsageError(
            "--rotate: needs --json or --csv with a file, or --save with a video; standard output and a folder of "
            "pictures cannot be set aside"
        )


def _can_rotate(options: argparse.Namespace) -> bool:
    from cvforge_edge.sinks.video import VIDEO_SUFFIXES

    texts = {options.json, options.csv} - {None, STANDARD_OUTPUT}
    for place in filter(None, (*texts, options.save)):
        if Path(place).exists() and not Path(place).is_file() and not Path(place).is_dir():
            raise UsageError(f"--rotate: {place} is a device or a pipe, which cannot be set aside; name a file")
    return bool(texts) or (options.save is not None and options.save.lower().endswith(VIDEO_SUFFIXES))


def _plan_mqtt(options: argparse.Namespace) -> tuple[MqttSettings, OutgoingSpec]:
    from cvforge_edge.secret import read_secret
    from cvforge_edge.sinks.mqtt_settings import PASSWORD, mqtt_settings

    settings = mqtt_settings(
        options.mqtt,
        password=read_secret(PASSWORD),
        ca_file=options.mqtt_ca,
        qos=1 if options.mqtt_qos is None else options.mqtt_qos,
        version=options.mqtt_version or "5",
    )
    if settings.password is not None and settings.tls is None and settings.host not in LOOPBACK:
        logger.warning("%s: the password goes through the network unencrypted; mqtts:// encrypts it", settings.name)
    return settings, _spec(options, "mqtt", settings.name, options.mqtt_content or Content.BOTH)


def _plan_webhook(options: argparse.Namespace) -> tuple[WebhookSettings, OutgoingSpec]:
    from cvforge_edge.secret import read_secret
    from cvforge_edge.sinks.webhook_settings import SIGNING_KEY, TOKEN, webhook_settings

    settings = webhook_settings(
        _address(options.webhook),
        token=read_secret(TOKEN),
        signing_key=read_secret(SIGNING_KEY),
        ca_file=options.webhook_ca,
        timeout_s=options.webhook_timeout or DEFAULT_TIMEOUT_S,
    )
    if settings.token is not None and settings.tls is None and settings.host not in LOOPBACK:
        logger.warning("%s: the token goes through the network unencrypted; https:// encrypts it", settings.name)
    return settings, _spec(
        options, "webhook", settings.name + settings.target, options.webhook_content or Content.EVENTS
    )


def _spec(options: argparse.Namespace, kind: str, address: str, content: str) -> OutgoingSpec:
    from cvforge_edge.sinks.outgoing import OutgoingSpec
    from cvforge_edge.versions import default_record_path

    folder = Path(options.queue) if options.queue is not None else default_record_path().parent / "queue"
    host = re.sub(r"[^A-Za-z0-9.]+", "-", address.partition("://")[2].partition("/")[0].rpartition("@")[2])
    return OutgoingSpec(
        content=Content(content),
        folder=folder / f"{kind}-{host}-{hashlib.sha256(address.encode()).hexdigest()[:8]}",
        limit_bytes=(options.queue_limit or DEFAULT_QUEUE_MB) * MB,
        results_per_s=options.send_rate,
        picture=kind == "webhook" and bool(options.webhook_picture),
    )


def _address(text: str) -> str:
    """The address, or what the file holds that `@` stands before: an address may be a secret itself."""
    if not text.startswith("@"):
        return text
    from cvforge_edge.plain_file import read_plain_file

    try:
        return read_plain_file(text[1:], limit_bytes=LONGEST_ADDRESS_BYTES).decode("utf-8").strip()
    except FileNotFoundError:
        raise UsageError(f"--webhook {text}: no such file") from None
    except ValueError as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise UsageError(f"--webhook {text}: {reason}") from None
