"""What is made of an image: its views and the features of the frozen network."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from irp_core.config.base import Positive, Section

__all__ = ["Features", "Views"]


class Views(Section):
    train: Annotated[int, Field(ge=1, le=64)] = 4
    score: Annotated[int, Field(ge=1, le=64)] = 4
    jitter_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    translate: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    zoom: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    contrast: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    brightness: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    noise: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    def altered(self) -> dict[str, float]:
        """The transformations besides rotation that are on. Features that were stored before there were any are
        still found: a store's fingerprint names only these."""
        sizes = self.model_dump(include={"translate", "zoom", "contrast", "brightness", "noise"})
        return {name: size for name, size in sizes.items() if size}

    def result_keys(self) -> dict[str, Any]:
        """As in a run's id: without the transformations that are off, so that a run of a version that had none is
        found again."""
        off = {"translate", "zoom", "contrast", "brightness", "noise"} - set(self.altered())
        return self.model_dump(mode="json", exclude=off)

    @property
    def bank(self) -> int:
        """Number of views that the store has to hold per image."""
        return max(self.train, self.score)


class Features(Section):
    backbone: Literal["bundled", "resnet18", "alexnet"] = "bundled"
    weights: str | None = None
    layers: tuple[str, ...] | None = None
    scales: tuple[Annotated[int, Field(ge=32, le=2048)], ...] = (256, 128, 64)
    patch_grid: Annotated[int, Field(ge=2, le=64)] = 8
    patch_channels: Annotated[int, Field(ge=2, le=2048)] = 64
    kurtosis_scale: Annotated[int, Field(ge=128, le=2048)] = 384  # below, too few cells are left for a fourth moment
    cell_scale: Annotated[int, Field(ge=64, le=2048)] = 256
    cell: Annotated[int, Field(ge=8, le=64)] = 11
    cell_channels: Annotated[int, Field(ge=2, le=1024)] = 64
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    stored: Literal["float32", "float16"] = "float32"
    batch_size: Positive = 8
    workers: Positive = 2
    device: str = "auto"
    store: str = ".irp/features"

    @property
    def elsewhere(self) -> bool:
        """Whether the store is no folder but an address."""
        return "://" in self.store
