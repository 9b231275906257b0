"""A quick look whether a network camera is there at all, before the slow attempt to read it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

ANSWER_WITHIN_S = 1.5
"""Long enough for one lost packet: a connection is asked for again after a second."""
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
ENCODING_ADVICE = "in a user or password write / as %2F, ? as %3F, # as %23, @ as %40, : as %3A"
RTSP_QUESTION = "OPTIONS {address} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: CVForge\r\n\r\n"


def unreachable_reason(address: str, *, timeout_s: float = ANSWER_WITHIN_S) -> str | None:
    """Why no server can be there, or None where one answers, or where that cannot be known (as with UDP).

    A server of RTSP is asked for its methods (RFC 2326, 10.1), which it answers whoever asks: behind some routers a
    connection comes about though the camera is off. Costs a few packets; an attempt by FFmpeg blocks for seconds.

    Args:
        address: of the stream; a user and password in it are not sent.
        timeout_s: for the connection, and again for the answer.
    """
    try:
        parts = urlsplit(address)
        scheme = parts.scheme.lower()
        if scheme not in PORTS or not parts.hostname:
            return None
        port = parts.port or PORTS[scheme]
    except ValueError:  # its text may hold a part of the password
        return f"no host and port (0 to 65535) can be read from the address; {ENCODING_ADVICE}"
    where = f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}"
    try:
        with socket.create_connection((parts.hostname, port), timeout=timeout_s) as connection:
            if scheme != "rtsp":
                return None
            connection.sendall(RTSP_QUESTION.format(address=f"rtsp://{where}/").encode())
            if not connection.recv(1):
                return f"{where} ends the connection without an answer"
    except TimeoutError:
        return f"{where} does not answer within {timeout_s:g} s"
    except OSError as error:
        return f"{where}: {error.strerror or error}"
    return None
