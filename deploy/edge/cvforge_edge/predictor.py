"""From an image to a prediction: the one path that evaluation, export checks, camera and server run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.backends import BACKENDS, Backend, choose_backend, open_backend
from cvforge_edge.bundle import Bundle, open_bundle
from cvforge_edge.errors import BackendError, BundleError
from cvforge_edge.geometry import Geometry
from cvforge_edge.latency import PredictTimes
from cvforge_edge.manifest import Manifest, ModelFile
from cvforge_edge.postprocess import Outputs, PostprocessSpec, number_of_classes, postprocess
from cvforge_edge.records import dataclass
from cvforge_edge.types import Prediction

if TYPE_CHECKING:
    import numpy.typing as npt

    from cvforge_edge.trust import TrustStore


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says about one image, and from what.

    Attributes:
        outputs: of the network by role, without batch axis.
        geometry: how the image was placed in the network's input.
        prediction: in pixels of the image.
    """

    outputs: Outputs
    geometry: Geometry
    prediction: Prediction


class Predictor:
    """A loaded model together with what surrounds it.

    Args:
        backend: the model.
        manifest: how images are prepared and outputs read.

    Attributes:
        times: of the parts of the newest prediction; None before the first.
    """

    def __init__(self, backend: Backend, manifest: Manifest) -> None:
        self.backend = backend
        self.manifest = manifest
        self.times: PredictTimes | None = None

    @classmethod
    def from_bundle(
        cls,
        folder: Path | str,
        *,
        backend: str | None = None,
        precision: str | None = None,
        threads: int = 1,
        trust: TrustStore | None = None,
        batch: bool = False,
    ) -> Predictor:
        """Check a bundle and load one of its models.

        Args:
            folder: the bundle.
            backend: a name in `BACKENDS`; None takes the preferred installed runtime that one of the models fits.
            precision: `fp32`, `fp16` or `int8`; None takes the first model that the backend runs.
            threads: processor threads for one inference.
            trust: keys, one of which must have signed the bundle; None asks for no signature.
            batch: take a model of the batch form, as a server does, instead of one for devices.

        Raises:
            BundleError: the bundle is damaged, not signed by a trusted key, or has no such model.
            BackendError: no fitting runtime is installed, or it cannot load the model.
        """
        bundle = open_bundle(folder, trust=trust)
        return cls.of_bundle(bundle, backend=backend, precision=precision, threads=threads, batch=batch)

    @classmethod
    def of_bundle(
        cls,
        bundle: Bundle,
        *,
        backend: str | None = None,
        precision: str | None = None,
        threads: int = 1,
        batch: bool = False,
    ) -> Predictor:
        """Load a model of a bundle that is open already; otherwise as `from_bundle`."""
        model, name = choose_model(bundle, backend=backend, precision=precision, batch=batch)
        return cls.of_model(bundle, model, backend=name, threads=threads)

    @classmethod
    def of_model(cls, bundle: Bundle, model: ModelFile, *, backend: str, threads: int = 1) -> Predictor:
        """Load one file of a bundle.

        Raises:
            BundleError: the file was altered since the bundle was opened.
            BackendError: the runtime is not installed, or it cannot load the model.
        """
        with bundle.copy_of(model) as path:
            return cls(open_backend(backend, path, threads=threads, where=bundle.path_of(model)), bundle.manifest)

    def predict(self, image_bgr: npt.NDArray[np.uint8]) -> Prediction:
        """What the model says about one image, (h, w, 3) uint8 BGR, in pixels of that image.

        Raises:
            SpecError: the image has another shape or type, or the outputs hold NaN or Infinity.
            BackendError: inference fails, or the model's outputs are not those of the manifest.
        """
        return self.answer(image_bgr).prediction

    def answer(self, image_bgr: npt.NDArray[np.uint8]) -> Answer:
        """As `predict`, together with the raw outputs; notes `times`."""
        begun_s = time.monotonic()
        input_u8, geometry = self.manifest.preprocess.apply(image_bgr)
        prepared_s = time.monotonic()
        outputs = self.raw_outputs(input_u8)
        answered_s = time.monotonic()
        prediction = postprocess(outputs, self.manifest.postprocess, geometry)
        self.times = PredictTimes(prepared_s - begun_s, answered_s - prepared_s, time.monotonic() - answered_s)
        return Answer(outputs, geometry, prediction)

    def raw_outputs(self, input_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """The network's outputs by role, without batch axis, for a prepared input (height, width, 3) uint8.

        Raises:
            BackendError: inference fails, or the model's outputs are not those of the manifest.
        """
        return self.raw_outputs_of(input_u8[None])[0]

    def raw_outputs_of(self, inputs_u8: npt.NDArray[np.uint8]) -> list[dict[str, npt.NDArray[Any]]]:
        """As `raw_outputs` for inputs (n, height, width, 3) uint8, all in one call of the network.

        Args:
            inputs_u8: one of them, except for a model of the batch form.

        Raises:
            BackendError: inference fails, or the model's outputs are not those of the manifest.
        """
        tensors = self.backend.run(inputs_u8)
        names = self.manifest.outputs
        missing = sorted(set(names.values()) - set(tensors))
        if missing:
            raise BackendError(
                f"{self.manifest.name}: the model has no output {', '.join(missing)}; found {', '.join(tensors)}. "
                "The manifest belongs to another model; export the bundle again"
            )
        outputs = [{role: tensors[name][i] for role, name in names.items()} for i in range(len(inputs_u8))]
        classes = number_of_classes(outputs[0], self.manifest.postprocess)
        if classes != len(self.manifest.labels):
            raise BackendError(
                f"{self.manifest.name}: {len(self.manifest.labels)} labels but output "
                f"{self.manifest.postprocess.roles[-1]!r} has {classes} classes; export the bundle again"
            )
        return outputs

    def with_postprocess(self, spec: PostprocessSpec) -> Predictor:
        """The same loaded model with other thresholds; closing either closes both."""
        return Predictor(self.backend, replace(self.manifest, postprocess=spec))

    def close(self) -> None:
        """Free the model."""
        self.backend.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def choose_model(
    bundle: Bundle, *, backend: str | None, precision: str | None, batch: bool = False
) -> tuple[ModelFile, str]:
    """The model of a bundle to run and the name of the backend to run it with; see `Predictor.from_bundle`.

    Raises:
        BundleError: no model fits.
        BackendError: the backend is unknown, or none that fits is installed.
    """
    if backend is not None and backend not in BACKENDS:
        raise BackendError(f"backend: found {backend!r}, accepted {', '.join(BACKENDS)}")
    manifest = bundle.manifest
    of_form = manifest.batch_models if batch else manifest.models
    models = [model for model in of_form if precision is None or model.precision == precision]
    if backend is None and models:
        backend = choose_backend(sorted({model.format for model in models}))
    fitting = [model for model in models if backend is not None and model.format == BACKENDS[backend].format]
    if not fitting:
        every = (*manifest.models, *manifest.batch_models)
        found = ", ".join(f"{model.path} ({model.format} {model.precision})" for model in every)
        wanted = " ".join(
            word
            for word in ("of the batch form" if batch else "", precision, backend and f"for backend {backend}")
            if word
        )
        advice = "; export with --batch to get one" if batch and not of_form else ""
        raise BundleError(f"{bundle.folder}: no model {wanted}; the bundle has {found}{advice}")
    return fitting[0], backend or ""
