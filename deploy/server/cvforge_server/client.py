"""A client for a server of CVForge: this file alone, with the standard library, is all that a program needs.

from cvforge_server.client import Client
with Client("http://127.0.0.1:8080", model="det_bccd", token="...") as client:
    for detection in client.predict("photo.jpg", score_threshold=0.5).detections:
        print(detection.label, detection.score, detection.box_xyxy)
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

WAITED_FOR = (0, 502, 503, 504)
"""No answer, no room in the queue, or a worker that is being started: the same request may do well a moment later."""
FATAL = (500, 507)
"""A worker died or failed, perhaps of this very request, and the next one would: it is sent once more, and not again."""
MOST_FATAL, SHOWN, FIRST_WAIT_S, LONGEST_WAIT_S, RESTART_STEPS = 2, 200, 0.2, 5.0, 3
ImageSource = bytes | bytearray | memoryview | str | Path
OK, TOO_LARGE = 200, 413


class ClientError(Exception):
    """The server did not answer, or refused.

    Args:
        message: what happened.
        status: of HTTP, or of the image within an answer; 0 where there was no answer, or none of HTTP.
        code: as the server's documentation lists them; empty where it gave none.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Detection:
    """An object.

    Attributes:
        label: name of its class.
        class_id: number of its class.
        score: 0 to 1.
        box_xyxy: x1, y1, x2, y2 in pixels of the image.
    """

    label: str
    class_id: int
    score: float
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class ClassScore:
    """A class and how probable it is, 0 to 1."""

    label: str
    class_id: int
    score: float


@dataclass(frozen=True)
class Result:
    """What the server says about one image.

    Attributes:
        image: its name.
        width: in pixels.
        height: in pixels.
        detections: the surest first; empty for other tasks.
        classes: the most probable first; empty for other tasks.
        pixel_shares: of a segmentation, label to share of the image, 0 to 1.
        value: everything that the server said about the image, masks of a segmentation, too.
        model: that answered: `name`, `version`, `task`, `fingerprint`.
        request_id: by which the server's log knows the request.
    """

    image: str
    width: int
    height: int
    detections: tuple[Detection, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    pixel_shares: Mapping[str, float] = field(default_factory=dict)
    value: Mapping[str, Any] = field(default_factory=dict, repr=False)
    model: Mapping[str, Any] = field(default_factory=dict, repr=False)
    request_id: str = ""

    @property
    def annotated_jpeg(self) -> bytes | None:
        """The picture with everything drawn into it, where it was asked for."""
        text = self.value.get("annotated_jpeg")
        return None if text is None else base64.b64decode(text)


class Client:
    """Asks one model of a server; a connection is kept open. For one thread at a time.

    Args:
        url: of the server, for instance `http://127.0.0.1:8080`; with `https` certificates are checked.
        model: name under which it is served.
        token: of the server; None where a proxy asks for none.
        timeout_s: for connecting, and for each wait for an answer.
        retries: further tries where the server does not answer or has no room (502, 503, 504), later and later. After 500 and
            507, a worker that died or failed, the request is sent once more at most: it may be what the worker died of.

    Raises:
        ValueError: the address is none of http or https.
    """

    def __init__(
        self, url: str, *, model: str, token: str | None = None, timeout_s: float = 30.0, retries: int = 4
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: found {url!r}, accepted http://HOST:PORT or https://HOST:PORT")
        self._path = f"{parts.path.rstrip('/')}/predictions/{quote(model, safe='')}"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._retries = retries
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout_s, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)

    def predict(self, image: ImageSource, **options: Any) -> Result:
        """What the model says about one image.

        Args:
            image: content of a JPEG, PNG or WebP file (`bytes`, `bytearray` or `memoryview`), or its path.
            **options: `score_threshold`, `classes` (a list), `masks`, `top`, `annotated`.

        Raises:
            ClientError: the server refused the image or did not answer; `status` and `code` say which.
            OSError: the file cannot be read.
        """
        data = content_of(image)
        headers = {"Content-Type": "application/octet-stream"}
        if options:
            headers["X-CVForge-Options"] = urlencode({name: option_text(value) for name, value in options.items()})
        (result,) = self._ask(data, headers, count=1)
        if isinstance(result, ClientError):
            raise result
        return result

    def predict_many(self, images: Sequence[ImageSource], **options: Any) -> list[Result | ClientError]:
        """What the model says about each of several images, in one request; one that is refused stands as its error.

        Args:
            images: as for `predict`; as many as the server accepts in one request.
            **options: as for `predict`, for all of them.

        Raises:
            ClientError: the server refused the request or did not answer.
            OSError: a file cannot be read.
        """
        entries = []
        for number, image in enumerate(images):
            data = base64.b64encode(content_of(image)).decode("ascii")
            entries.append({"name": name_of(image, number), "data": data})
        body = json.dumps({"images": entries, "options": options}).encode("utf-8")
        return self._ask(body, {"Content-Type": "application/json"}, count=len(images))

    def close(self) -> None:
        """Close the connection; the next request would open it again."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, body: bytes, headers: Mapping[str, str], *, count: int) -> list[Result | ClientError]:
        tries = Tries(self._retries)
        while True:
            status, answer = self._try(body, headers)
            if status not in (*WAITED_FOR, *FATAL) or not tries.again(fatal=status in FATAL):
                break
        if not status:
            raise ClientError(answer.decode())
        return results_of(parsed(answer, status=status), status=status, count=count)

    def _try(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body; status 0 and the reason where there was no answer."""
        try:
            self._connection.request("POST", self._path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, f"no answer ({type(error).__name__}: {error})".encode()


class Tries:
    """Counts how often one request was sent; `retries` further tries are allowed."""

    def __init__(self, retries: int) -> None:
        self._retries, self._made, self._fatal = retries, 0, 0

    def again(self, *, fatal: bool) -> bool:
        """Wait, and say true where it may be sent again; `fatal`: a worker died under it, whose next needs seconds."""
        self._fatal += fatal
        if self._made == self._retries or self._fatal == MOST_FATAL:
            return False
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (self._made + (RESTART_STEPS if fatal else 0)))
        time.sleep(longest_s * random.uniform(0.5, 1.0))  # not as long as other clients
        self._made += 1
        return True


def content_of(image: ImageSource) -> bytes:
    """The content of an image file."""
    return Path(image).read_bytes() if isinstance(image, (str, Path)) else bytes(memoryview(image))


def name_of(image: ImageSource, number: int) -> str:
    """What an image is called: its path, or its number among several."""
    return str(image) if isinstance(image, (str, Path)) else str(number)


def parsed(body: bytes, *, status: int) -> Any:
    """What the JSON of an answer says, or a `ClientError` that it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        what = f"found {body[:SHOWN].decode('utf-8', 'replace')!r}, expected JSON"
        if status == TOO_LARGE and not body:
            what = "the request is larger than the server takes; send fewer images in one, or smaller ones"
        raise ClientError(f"status {status}: {what}" if status else what, status=status) from None


def results_of(value: Any, *, status: int, count: int) -> list[Result | ClientError]:
    """What an answer says about each image.

    Args:
        value: of its JSON.
        status: of HTTP; 0 where it came in another way.
        count: of the images.

    Raises:
        ClientError: the request as a whole was refused, or the answer is none of a server of CVForge.
    """
    where = f"status {status}: " if status else ""
    if isinstance(value, dict) and isinstance(value.get("results"), list):
        try:
            results = [_result(entry, value) for entry in value["results"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ClientError(f"{where}an answer that cannot be read ({error!r})", status=status) from None
        if len(results) != count:
            raise ClientError(f"{where}found {len(results)} results, expected {count}", status=status)
        return results
    told = value.get("error") or value if isinstance(value, dict) else value
    fields: dict[str, Any] = told if isinstance(told, dict) else {"message": told}
    text = fields.get("message") or json.dumps(value)[:SHOWN]
    raise ClientError(f"{where}{text}", status=status, code=str(fields.get("code", "")))


def _result(entry: Mapping[str, Any], value: Mapping[str, Any]) -> Result | ClientError:
    if entry["status"] != OK:
        error = entry["error"]
        return ClientError(f"{entry['image']}: {error['message']}", status=entry["status"], code=error["code"])
    return Result(
        image=entry["image"],
        width=entry["width"],
        height=entry["height"],
        detections=tuple(_detection(row) for row in entry.get("detections", ())),
        classes=tuple(ClassScore(**row) for row in entry.get("classes", ())),
        pixel_shares=entry.get("pixel_shares", {}),
        value=entry,
        model=value["model"],
        request_id=value["request_id"],
    )


def _detection(row: Mapping[str, Any]) -> Detection:
    x1, y1, x2, y2 = row["box_xyxy"]
    return Detection(row["label"], row["class_id"], row["score"], (x1, y1, x2, y2))


def option_text(value: Any) -> str:
    """An option as a form or an address has it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
