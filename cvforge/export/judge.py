"""Measures the files of one export, each loaded by the runtime that will run it on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cvforge.export.formats import FORMATS
from cvforge.export.plan import ExportPlan
from cvforge.export.source import file_name
from cvforge.export.stages import Stages
from cvforge.export.verify import Reference, Scoring, Verdict, judge
from cvforge_edge.backends import open_backend
from cvforge_edge.bundle import describe_model
from cvforge_edge.manifest import ModelFile
from cvforge_edge.predictor import Predictor


@dataclass(frozen=True)
class Judge:
    """Measures the files of one export.

    Attributes:
        draft: the folder of the files.
        plan: of the export.
        reference: the checkpoint.
        scoring: the same as for the checkpoint.
        stages: shows progress.
    """

    draft: Path
    plan: ExportPlan
    reference: Reference
    scoring: Scoring
    stages: Stages

    def verdict(self, format_name: str, precision: str) -> Verdict:
        """What one file scores, and how far its outputs are from the checkpoint's."""
        model = describe_model(self.draft, file_name(format_name, precision), format=format_name, precision=precision)
        with self.load(model) as predictor:
            progress = self.stages(f"score {model.path}")
            return judge(model, predictor, reference=self.reference, scoring=self.scoring, progress=progress)

    def load(self, model: ModelFile) -> Predictor:
        """A file, ready to predict with one thread."""
        backend = open_backend(FORMATS[model.format].runtime, self.draft / model.path, threads=1)
        return Predictor(backend, self.plan.manifest())
