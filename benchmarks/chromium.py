"""A real Chromium, driven through its DevTools protocol over a pipe: no other package is needed.

Source of the protocol: https://chromedevtools.github.io/devtools-protocol/ (`--remote-debugging-pipe`: JSON objects,
each ended by a zero byte, on the file descriptors 3 and 4).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ANSWER_WITHIN_S = 60.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root in a container has no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def chromium_program() -> str | None:
    """The browser of this machine, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One tab of a headless Chromium.

    Args:
        folder: for its profile.
    """

    def __init__(self, folder: Path) -> None:
        program = chromium_program()
        if program is None:
            raise FileNotFoundError(f"no browser: found none of {', '.join(PROGRAMS)}; apt-get install chromium")
        to_browser, self._commands = os.pipe()
        self._answers, from_browser = os.pipe()
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}',
                program,
                *FLAGS,
                f"--user-data-dir={folder}",
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._received = b""
        self._number = 0
        self.complaints: list[str] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self._session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def resize(self, width: int, height: int, *, dark: bool = False, phone: bool = False, scale: float = 1) -> None:
        """Give the window a size in CSS pixels, and the user a preference for dark or light pages."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        """Go to an address."""
        self._ask("Page.navigate", {"url": url})

    def press(self, key: str, code: int) -> None:
        """Press a key, such as `("Tab", 9)` or `("Enter", 13)`."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            values = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self._ask("Input.dispatchKeyEvent", {**values, **(text if kind == "keyDown" else {})})

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited.

        Raises:
            RuntimeError: it throws.
        """
        options = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self._ask("Runtime.evaluate", options)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, script: str, *, timeout_s: float = 30.0) -> Any:
        """The value of an expression as soon as it is true.

        Raises:
            TimeoutError: it did not become true in time.
        """
        deadline_s = time.monotonic() + timeout_s
        value = None
        while time.monotonic() < deadline_s:
            with contextlib.suppress(RuntimeError):  # the page may just be loading
                value = self.evaluate(script)
            if value:
                return value
            time.sleep(0.05)
        raise TimeoutError(f"{script}: still {value!r} after {timeout_s} s; {self.complaints}")

    def screenshot(self, path: Path, *, whole_page: bool = False) -> None:
        """Save what the window shows as PNG."""
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole_page}
        if whole_page:
            size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", options)["data"]))

    def close(self) -> None:
        """End the browser and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for descriptor in (self._commands, self._answers):
            os.close(descriptor)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, values: dict[str, Any] | None = None, *, session: str | None = "own") -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values or {}}
        if session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not select.select([self._answers], [], [], ANSWER_WITHIN_S)[0]:
                raise TimeoutError(f"the browser said nothing for {ANSWER_WITHIN_S:g} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise ConnectionError(f"the browser has ended with code {self._process.poll()}")
            self._received += data
        text, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what a developer would see in red."""
        values = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(values["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([part.get("value") for part in values["args"]]))
