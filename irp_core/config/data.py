"""What is read: the data set, the injected defects, the pixels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from irp_core.config.base import Fraction, Positive, Section

__all__ = ["Contamination", "Dataset", "Images"]


class Dataset(Section):
    layout: Literal["auto", "folder", "mvtec", "mtd", "ksdd2"] = "auto"
    test_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    good_names: Annotated[tuple[Annotated[str, Field(pattern=r"\w")], ...], Field(min_length=1)] = (
        "good",
        "ok",
        "normal",
        "pass",
        "passed",
        "defect_free",
        "no_defect",
        "gut",
        "io",
    )
    near_copies: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.9
    split: Literal["random", "hash"] = "random"
    golden: str | None = None


class Contamination(Section):
    protocol: Literal["fraction_of_set", "fraction_added", "fraction_of_defects"] = "fraction_of_set"
    fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    max_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    set_size: Positive | None = None
    defect_pool: Fraction = 0.5
    overlap: bool = False

    @model_validator(mode="after")
    def _sweep_covers_fraction(self) -> Contamination:
        if self.max_fraction is not None and self.fraction > self.max_fraction:
            raise ValueError(f"fraction must be at most max_fraction ({self.max_fraction}). Got {self.fraction}.")
        return self


Side = Annotated[int, Field(ge=32, le=2048)]


class Images(Section):
    size: Side | tuple[Side, Side] = 256
    crop: Literal["none", "center"] = "none"
    range: tuple[float, float] | None = None
    max_pixels: Positive = 180_000_000
    max_bytes: Positive = 1_000_000_000

    @model_validator(mode="before")
    @classmethod
    def _size_is_a_side_or_a_shape(cls, values: Any) -> Any:
        """Said here, because pydantic's own words for one of two types name neither."""
        size = values.get("size") if isinstance(values, dict) else None
        if size is None:
            return values
        sides = size if isinstance(size, list | tuple) else [size]
        whole = all(isinstance(side, int) and not isinstance(side, bool) and 32 <= side <= 2048 for side in sides)
        if not whole or (isinstance(size, list | tuple) and len(sides) != 2):
            what = "size must be a side, or [height, width], in whole pixels from 32 to 2048"
            raise ValueError(f"{what}. Got {size!r}.")
        if values.get("crop") == "center" and len(set(sides)) > 1:
            raise ValueError(f"size must be a square where crop is center, which is one. Got {size!r}.")
        return values

    @model_validator(mode="after")
    def _black_below_white(self) -> Images:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range must be the values of black and white, black below white. Got {list(self.range)}.")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels to which an image is resized."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    def pixels(self) -> dict[str, Any]:
        """What an image's pixels depend on. `range` only where it is set: features that were stored before there was
        such a key are still found."""
        return self.model_dump(mode="json", exclude={"max_pixels", "max_bytes"} | (set() if self.range else {"range"}))

    def set_keys(self) -> dict[str, Any]:
        """As `pixels`, with the bounds where they are not the defaults."""
        bounds = {"max_pixels": self.max_pixels, "max_bytes": self.max_bytes}
        return self.pixels() | {key: at for key, at in bounds.items() if at != Images.model_fields[key].default}
