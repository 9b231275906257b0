"""Where the web page listens: the address that a user names, the socket behind it, and who can reach it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

from cvforge_edge.errors import UsageError
from cvforge_edge.records import dataclass

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080
ACCEPTED = (
    "accepted HOST:PORT (127.0.0.1:8080 for this device alone, 0.0.0.0:8080 for its network, [::1]:8080), or a PORT of "
    "this device alone"
)
WAITING_CONNECTIONS = 64
"""How many connections the system keeps until they are accepted."""
DOCUMENTATION_ADDRESS = "192.0.2.1"
"""RFC 5737: belongs to nobody; asking for the way to it tells which of our addresses the network sees."""


@dataclass(frozen=True)
class WebAddress:
    """Where to listen.

    Attributes:
        host: name or address, without the brackets of IPv6.
        port: 0 to 65535; 0 takes any that is free.
    """

    host: str
    port: int


def parse_address(text: str) -> WebAddress:
    """The address that a user wrote.

    >>> parse_address("0.0.0.0:9000")
    WebAddress(host='0.0.0.0', port=9000)

    Raises:
        UsageError: it is no address.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host = DEFAULT_HOST
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"--web {text}: an IPv6 address needs brackets; {ACCEPTED}")
    if not host or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise UsageError(f"--web: found {text!r}; {ACCEPTED}")
    return WebAddress(host, int(port))


def listen(address: WebAddress) -> socket.socket:
    """A socket that listens there.

    Raises:
        UsageError: the host is unknown or not of this machine, or the port is taken or not allowed.
    """
    where = f"--web {address.host}:{address.port}"
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{where}: the host is unknown ({error}); {ACCEPTED}") from error
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(WAITING_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"{where}: cannot listen there ({error.strerror}); take another port, an address of this device "
            "(ip address), and a port above 1023 unless the user may have lower ones"
        ) from error
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Whether only programs of this device can connect."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def page_url(listener: socket.socket) -> str:
    """What to type into a browser; for a socket that listens everywhere, with the address that the network sees."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address(_outward_address() or DEFAULT_HOST)
    return f"http://[{address}]:{port}/" if address.version == 6 else f"http://{address}:{port}/"


def is_local_name(host_header: str) -> bool:
    """Whether a `Host` header names this device in a way that no other site can make a browser use.

    A site that has its own name point to 127.0.0.1 (DNS rebinding) sends that name.

    >>> is_local_name("localhost:8080"), is_local_name("[::1]:8080"), is_local_name("evil.example:8080")
    (True, True, False)
    """
    host = host_header.rpartition(":")[0] if host_header.rpartition(":")[2].isdecimal() else host_header
    if host.lower() == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    return False


def _outward_address() -> str | None:
    """Our IPv4 address on the way out; nothing is sent for this."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((DOCUMENTATION_ADDRESS, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])
