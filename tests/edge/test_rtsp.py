"""A real RTSP server is killed, comes back otherwise than before, and is cut off; the camera is back, and shows the present."""

from __future__ import annotations

import time

import numpy as np
import pytest

import rtsp_lab
from cvforge_edge.camera import SourceSettings, open_source
from cvforge_edge.sources.limits import LiveLimits
from edge.scripted_capture import wait_until

WAIT_S = 60.0
MISSING = rtsp_lab.missing_parts()

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def lab():
    """Starts servers on one port behind a wire; everything ends with the test."""
    made: list = []

    class Lab:
        port = rtsp_lab.free_port()

        def serve(self, **options) -> rtsp_lab.RtspServer:
            made.append(rtsp_lab.RtspServer(self.port, **options))
            return made[-1]

    lab = Lab()
    lab.wire = rtsp_lab.Wire(lab.port)
    lab.address = f"rtsp://127.0.0.1:{lab.wire.port}/stream"
    yield lab
    lab.wire.close()
    for server in made:
        server.kill()


def read_frame(source):
    deadline = time.monotonic() + WAIT_S
    while (frame := source.read(timeout_s=0.5)) is None:
        assert time.monotonic() < deadline, "no frame in time"
    return frame


def test_stream_comes_back_after_restarts_also_with_another_size_and_codec(lab):
    server = lab.serve()
    with open_source(lab.address) as source:
        shown_s = []
        for count, options in enumerate(({"codec": "mjpeg", "size": "320x240"}, {"codec": "h264", "size": "480x360"})):
            for _ in range(5):
                shown_s.append(rtsp_lab.shown_clock_s(read_frame(source).image_bgr))
            server.kill()
            wait_until(lambda: source.read(timeout_s=0.0) is None and source.state == "lost", "loss noticed")
            server = lab.serve(**options)
            frame = read_frame(source)
            width, height = map(int, options["size"].split("x"))
            assert frame.image_bgr.shape == (height, width, 3)
            assert (source.state, source.reconnects) == ("live", count + 1)
            shown_s.append(rtsp_lab.shown_clock_s(frame.image_bgr))
    assert np.all(np.diff(shown_s) > 0)  # no picture twice, none from before


def test_what_was_made_while_the_stream_was_opened_is_not_shown_late(lab):
    lab.serve(fps=20)
    with open_source(lab.address) as source:
        opened_s = time.monotonic()
        first = read_frame(source)
        assert source.fps == 20.0
        # FFmpeg reads ahead for about two seconds: its first picture is older than the connection, this one is not.
        assert rtsp_lab.shown_clock_s(first.image_bgr) > opened_s - 1.0
        frames = [read_frame(source) for _ in range(20)]
        ages_s = [frame.captured_s - rtsp_lab.shown_clock_s(frame.image_bgr) for frame in frames]
        assert min(ages_s) >= 0
        assert np.median(ages_s) < 1.0


def test_cut_wire_is_noticed_as_stalled_then_lost_and_mended(lab):
    lab.serve()
    limits = LiveLimits(stall_after_s=0.5, lost_after_s=1.0)
    with open_source(lab.address, settings=SourceSettings(limits=limits)) as source:
        before_s = rtsp_lab.shown_clock_s(read_frame(source).image_bgr)
        lab.wire.cut()
        states = []

        def lost() -> bool:
            source.read(timeout_s=0.01)
            states.append(source.state)
            return source.state == "lost"

        wait_until(lost, "loss noticed")
        assert list(dict.fromkeys(states)) == ["live", "stalled", "lost"]
        mended_s = time.monotonic()
        lab.wire.mend()
        assert rtsp_lab.shown_clock_s(read_frame(source).image_bgr) > max(before_s, mended_s - 3.0)
        assert (source.state, source.hanging) == ("live", 0)


def test_address_of_no_stream_on_a_real_server_is_refused(lab):
    from cvforge_edge.errors import SourceError

    lab.serve()
    with pytest.raises(SourceError, match="no video that FFmpeg can read"):
        open_source(lab.address.replace("/stream", "/nothing"))
