"""The detectors and their training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from irp_core.config.base import DetectorName, Positive, Section

__all__ = [
    "CellVotesParams",
    "DetectorParams",
    "DifferNetParams",
    "Localisation",
    "PatchGaussianParams",
    "PatchKnnParams",
    "Training",
]


class DetectorParams(Section):
    name: DetectorName = "ensemble"


class DifferNetParams(Section):
    blocks: Positive = 8
    hidden: Positive = 128
    clamp: Annotated[float, Field(gt=0.0)] = 3.0
    standardize: bool = True


class PatchKnnParams(Section):
    votes: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    worst: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    bank: Annotated[int, Field(ge=2)] = 512


class CellVotesParams(Section):
    votes: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    worst: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    bank: Annotated[int, Field(ge=2)] = 64


class PatchGaussianParams(Section):
    shrinkage: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    worst: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01


class Localisation(Section):
    detector: Literal["patch_gaussian", "patch_knn", "differnet"] | None = "patch_gaussian"


class Training(Section):
    epochs: Positive = 20
    retrain_epochs: Positive = 5
    batch_size: Positive = 96
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-4
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    eps: Annotated[float, Field(gt=0.0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-5
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    sample: Annotated[int, Field(ge=2)] = 50_000

    def result_keys(self) -> dict[str, Any]:
        """As in a run's id and in a step's key: `precision` and `sample` only where they are not the default, so that
        what was trained before there were such keys is found again."""
        return self.model_dump(mode="json", exclude={"precision", "sample"} - self._changed())

    def _changed(self) -> set[str]:
        return {name for name, value in self if value != type(self).model_fields[name].default}
