"""The paper's own numbers (`reference.yaml`), looked up by entity and noise level."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["MVTEC", "Reference", "load_reference"]

MVTEC = ("bottle", "cable", "capsule", "carpet", "leather", "metal_nut", "pill", "screw", "tile", "zipper")
"""The ten of MVTec AD's fifteen categories that the paper reports."""


@dataclass(frozen=True)
class Reference:
    """What the paper reports; None where it reports nothing."""

    values: dict[str, Any]

    def auroc(self, entity: str, level: int) -> float | None:
        """IRP's AUROC of one entity (Table 1)."""
        found: float | None = self._at(self.values["auroc_irp"].get(entity), level)
        return found

    def mean_auroc(self, method: str, level: int) -> float | None:
        """AUROC of `vanilla`, `osr` or `irp`, mean over the ten MVTec categories."""
        found: float | None = self._at(self.values["auroc_mean"].get(method), level)
        return found

    def removed(self, entity: str, level: int) -> tuple[int, int] | None:
        """(good, bad) images that IRP removed (Table 2)."""
        found = self._at(self.values["removed"].get(entity), level)
        return None if found is None else (found[0], found[1])

    def _at(self, row: list[Any] | None, level: int) -> Any:
        levels = self.values["levels"]
        return None if row is None or level not in levels else row[levels.index(level)]


def load_reference() -> Reference:
    """Read the packaged file.

    Example:
        >>> load_reference().auroc("bottle", 10)
        0.9495
    """
    return Reference(yaml.safe_load(files("irp_core.paper").joinpath("reference.yaml").read_text(encoding="utf-8")))
