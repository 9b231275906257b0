"""Sets how strongly a segmentation tints the annotated picture."""

from __future__ import annotations

from dataclasses import replace

from cvforge_edge.frame import Result


class MaskOpacity:
    """Changes only how results are drawn.

    Args:
        opacity: 0 leaves the picture as it is, 1 shows colours alone.
    """

    def __init__(self, opacity: float) -> None:
        self._opacity = opacity

    def apply(self, result: Result) -> Result:
        """The result, to be drawn with this opacity."""
        return replace(result, mask_opacity=self._opacity)
