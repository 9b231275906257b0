"""Whether a run does its work, as a probe asks it."""

from __future__ import annotations

from cvforge_edge.status import CameraStatus, RunStatus

STUCK_AFTER_S = 10.0
"""The pipeline writes its status twice a second, and a live camera gives results, unless something hangs."""
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
    if status.cameras and all(camera.state in AWAY for camera in status.cameras):
        states = ", ".join(sorted({camera.state for camera in status.cameras}))
        return f"no camera is live ({states})"
    stuck = [str(number) for number, camera in enumerate(status.cameras) if _is_stuck(camera, now_s)]
    if stuck:
        return f"no result for {STUCK_AFTER_S:.0f} s although frames come: camera {', '.join(stuck)}"
    return None


def _is_stuck(camera: CameraStatus, now_s: float) -> bool:
    if camera.state != "live":
        return False
    newest_s = max((s for s in (camera.result_s, camera.state_since_s) if s is not None), default=now_s)
    return now_s - newest_s > STUCK_AFTER_S
