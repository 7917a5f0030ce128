"""The paper's sweep and how its figures are drawn."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from irp_core.config.base import DetectorName, MethodName, Percent, Positive, Section, Seed
from irp_core.config.data import Contamination
from irp_core.config.detectors import Training

__all__ = ["Figures", "Study", "Sweep"]


class Sweep(Section):
    """What `dvc repro` runs: every entity at every noise level, with every seed and method."""

    entities: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], ...], Field(min_length=1)] = ("demo",)
    levels: Annotated[tuple[Percent, ...], Field(min_length=1)] = (0, 10, 20, 30, 40, 50)
    max_level: Annotated[int, Field(ge=1, lt=100)] = 50
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    methods: Annotated[tuple[MethodName, ...], Field(min_length=1)] = (
        "vanilla",
        "osr",
        "irp_max_one",
        "irp",
        "random",
        "equal_epochs",
        "oracle",
    )
    epochs: dict[str, Positive] = Field(default={"demo": 30, "mtd": 30, "bottle": 70})
    detector: DetectorName = "differnet"
    demo_size: Annotated[int, Field(ge=64, le=1024)] = 256

    def training_of(self, entity: str, training: Training) -> Training:
        """`training` with the entity's own epochs where `epochs` names it, and `retrain_epochs` in proportion."""
        epochs = self.epochs.get(entity, training.epochs)
        again = max(1, round(training.retrain_epochs * epochs / training.epochs))
        return training.model_copy(update={"epochs": epochs, "retrain_epochs": again})

    def contamination_at(self, level: int, contamination: Contamination) -> Contamination:
        """`contamination` with `level` percent defective, in a set of the size that `max_level` allows."""
        return contamination.model_copy(update={"fraction": level / 100, "max_fraction": self.max_level / 100})

    @model_validator(mode="after")
    def _each_once_and_below_the_highest(self) -> Sweep:
        for name in ("entities", "levels", "seeds", "methods"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must name each value once. Got {list(values)}.")
        if max(self.levels) > self.max_level:
            raise ValueError(f"levels must be at most max_level ({self.max_level}). Got {list(self.levels)}.")
        return self


class Study(Section):
    """What stage `study` asks of each of the sweep's entities: λ, the flow's width, memory, the noise protocols."""

    level: Annotated[int, Field(ge=1, lt=100)] = 20
    seed: Seed = 0
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (128,)
    lambdas: Annotated[tuple[Annotated[float, Field(gt=1.0)], ...], Field(min_length=1)] = (
        1.05,
        1.1,
        1.25,
        1.5,
        2.0,
        3.0,
    )
    protocol_seeds: tuple[Seed, ...] = (0, 1, 2)


class Figures(Section):
    """How the paper's figures are drawn; nothing here changes a number."""

    width: Annotated[float, Field(ge=3.0, le=20.0)] = 6.8
    font_size: Annotated[float, Field(ge=4.0, le=24.0)] = 8.5
    dpi: Annotated[int, Field(ge=50, le=600)] = 200
    gallery: Annotated[int, Field(ge=1, le=24)] = 12
    pictures: bool = True
