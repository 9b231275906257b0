"""Whether a run does its work, as a probe asks it."""

from __future__ import annotations

from cvforge_edge.status import CameraStatus, RunStatus

STUCK_AFTER_S = 10.0
"""The pipeline writes its status twice a second, a frame that is wanted gets its result, and a camera that is there connects,
unless something hangs."""
AWAY = ("stalled", "lost", "closed")


def problem(status: RunStatus, *, now_s: float) -> str | None:
    """Why the run does not do its work, in a few words; None when it does.

    Args:
        status: as the board has it.
        now_s: `time.monotonic()`.
    """
    if status.phase == "ended":
        return "the run has ended"
    if status.written_s is None:
        return "the run has not begun"
    silent_s = now_s - status.written_s
    if silent_s > STUCK_AFTER_S:
        return f"the pipeline is stuck: no sign of life for {silent_s:.0f} s"
    if status.cameras and all(_is_away(camera, now_s) for camera in status.cameras):
        states = ", ".join(sorted({camera.state for camera in status.cameras}))
        return f"no camera is live ({states})"
    stuck = [str(number) for number, camera in enumerate(status.cameras) if _is_stuck(camera, now_s)]
    if stuck:
        return f"no result for {STUCK_AFTER_S:.0f} s although frames come: camera {', '.join(stuck)}"
    return None


def _is_stuck(camera: CameraStatus, now_s: float) -> bool:
    """Not merely slow: with `--max-fps 0.02` it is right that nothing comes for 50 s."""
    return camera.waiting_since_s is not None and now_s - camera.waiting_since_s > STUCK_AFTER_S


def _is_away(camera: CameraStatus, now_s: float) -> bool:
    if camera.state == "connecting" and camera.state_since_s is not None:
        return now_s - camera.state_since_s > STUCK_AFTER_S
    return camera.state in AWAY
