"""Makes docs/images/web.png: the page of a run over a generated scene, in a real Chromium.

python benchmarks/web_screenshot.py --output docs/images/web.png
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "deploy" / "edge"))

import numpy as np
from PIL import Image

from chromium import Browser
from cvforge_edge.status import RunStatus, StatusBoard
from cvforge_edge.web.address import WebAddress, listen
from cvforge_edge.web.sink import WebSink
from web_scene import SceneCamera, run_scene

DESKTOP_WH, PHONE_WH = (1180, 720), (360, 720)
GAP_PIXELS = 24
GAP_RGB = (180, 190, 200)
LEVELS_APART = 5
"""Brightness of the saved file in steps: what the pictures' compression left in flat areas would triple its size."""
ALL_LIVE = "[...document.querySelectorAll('.picture')].every((p) => p.naturalWidth > 0)"
MARKED_LOST = "document.querySelectorAll('.camera')[1].classList.contains('stale')"


def main() -> int:
    """Run the scene, look at it, save it."""
    options = _parser().parse_args()
    board = StatusBoard(
        RunStatus(
            model="street",
            version=3,
            backend="litert, model_int8.tflite",
            started_unix_s=time.time(),
            started_s=time.monotonic(),
        )
    )
    page = WebSink(board, listener=listen(WebAddress("127.0.0.1", 0)), cameras=2, token=None)
    cameras = [SceneCamera("rtsp://gate.local/main", seed=0), SceneCamera("rtsp://yard.local/main", seed=1)]
    stop = threading.Event()
    run = threading.Thread(target=run_scene, args=(cameras, [page]), kwargs={"board": board, "stop": stop})
    run.start()
    try:
        pictures = look(page.url, cameras[1], seconds=options.seconds)
    finally:
        stop.set()
        run.join()
    height = max(picture.shape[0] for picture in pictures)
    gap = np.full((height, GAP_PIXELS, 3), GAP_RGB, np.uint8)
    joined = np.hstack([pictures[0], gap, pictures[1]])
    stepped = (np.rint(joined / LEVELS_APART) * LEVELS_APART).astype(np.uint8)
    Image.fromarray(stepped).save(options.output, optimize=True)
    print(f"{options.output}: {Path(options.output).stat().st_size / 1000:.0f} kB")
    return 0


def look(url: str, second: SceneCamera, *, seconds: float) -> list[np.ndarray]:
    """Desktop in light with a lost camera, phone in dark."""
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder) / "profile") as browser:
        shots = [Path(folder) / "desktop.png", Path(folder) / "phone.png"]
        browser.resize(*DESKTOP_WH)
        browser.open(url)
        browser.wait_for(ALL_LIVE)
        time.sleep(seconds)
        second.state = "lost"
        browser.wait_for(MARKED_LOST)
        time.sleep(6)
        browser.screenshot(shots[0])
        browser.resize(*PHONE_WH, dark=True, phone=True)
        time.sleep(2)
        browser.screenshot(shots[1])
        return [np.array(Image.open(path).convert("RGB")) for path in shots]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Makes the picture of the web page in the documentation.")
    parser.add_argument("--output", default="docs/images/web.png", metavar="FILE", help="PNG (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=70.0, metavar="S", help="to run before (default %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
