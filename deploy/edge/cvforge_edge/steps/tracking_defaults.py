"""Figures of tracking that options show, apart from the tracker so that a run without one starts sooner."""

LOWEST_SCORE = 0.1
"""Detections below are noise to a tracker; the model is asked for everything above."""
KEEP_LOST_S = 2.0
"""How long an object that is not seen keeps its id."""
