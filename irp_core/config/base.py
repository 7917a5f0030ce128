"""What the sections of the parameters share: their base class and the types of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from irp_core.methods import METHODS
from irp_core.rules import RULES

__all__ = ["DetectorName", "Fraction", "MethodName", "Percent", "Positive", "RuleName", "Section", "Seed", "Share"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
Percent = Annotated[int, Field(ge=0, lt=100)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


# Methods and rules are listed where they are defined; pydantic names them in its errors.
if TYPE_CHECKING:
    MethodName = str
    RuleName = str
else:
    MethodName = Literal[tuple(METHODS)]
    RuleName = Literal[tuple(RULES)]
DetectorName = Annotated[
    str,
    Field(
        pattern=r"^(differnet|gaussian|patch_knn|kurtosis|consensus|patch_gaussian|ensemble|cell_votes|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"
    ),
]
"""A detector of this package, or `package.module:Class` of another."""


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, serialize_by_alias=True
    )
