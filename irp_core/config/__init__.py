"""The parameters: one frozen pydantic model per section of `params.yaml`.

The defaults here and the values in `params.yaml` are the same (a test compares them), so the package
works without the file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from irp_core.config.base import Section
from irp_core.config.data import Contamination, Dataset, Images
from irp_core.config.detectors import (
    CellVotesParams,
    DetectorParams,
    DifferNetParams,
    Localisation,
    PatchGaussianParams,
    PatchKnnParams,
    Training,
)
from irp_core.config.features import Features, Views
from irp_core.config.paper import Figures, Study, Sweep
from irp_core.config.records import Retention, Run, Runtime, Snapshots, Tracking
from irp_core.config.refinement import Operating, Refinement, Review

__all__ = [
    "CellVotesParams",
    "Contamination",
    "Dataset",
    "DetectorParams",
    "DifferNetParams",
    "Features",
    "Figures",
    "Images",
    "Localisation",
    "Operating",
    "Params",
    "PatchGaussianParams",
    "PatchKnnParams",
    "Refinement",
    "Retention",
    "Review",
    "Run",
    "Runtime",
    "Snapshots",
    "Study",
    "Sweep",
    "Tracking",
    "Training",
    "Views",
    "digest",
]


class Params(Section):
    """All sections of `params.yaml`.

    Example:
        >>> params = Params(training=Training(epochs=3))
        >>> params.training.epochs, params.training.batch_size
        (3, 96)
        >>> digest(params) == digest(Params())
        False
    """

    dataset: Dataset = Dataset()
    contamination: Contamination = Contamination()
    images: Images = Images()
    views: Views = Views()
    features: Features = Features()
    detector: DetectorParams = DetectorParams()
    differnet: DifferNetParams = DifferNetParams()
    patch_knn: PatchKnnParams = PatchKnnParams()
    patch_gaussian: PatchGaussianParams = PatchGaussianParams()
    cell_votes: CellVotesParams = CellVotesParams()
    localisation: Localisation = Localisation()
    training: Training = Training()
    refinement: Refinement = Refinement()
    operating: Operating = Operating()
    review: Review = Review()
    tracking: Tracking = Tracking()
    snapshots: Snapshots = Snapshots()
    retention: Retention = Retention()
    run: Run = Run()
    runtime: Runtime = Runtime()
    sweep: Sweep = Sweep()
    study: Study = Study()
    figures: Figures = Figures()

    @property
    def local_store(self) -> str:
        """The folder of the feature store; where that lies elsewhere, of what is kept of it on this machine."""
        return self.runtime.store_cache if self.features.elsewhere else self.features.store


def digest(*parts: Any) -> str:
    """SHA-256 (hex) of models and JSON values: the key under which a step's result is filed."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
