"""A made line in a project of its own: its inbox, its nights, and its flows in this process."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irp_core.config import Params
from irp_core.config.lines import Inbox, Line, PromotionPolicy
from irp_core.demo.line import Batch, deliver, write_line_plant
from irp_core.line.definition import line_params, load_line, write_line
from irp_core.line.folder import LineFolder
from irp_core.line.rounds import LineRound, rounds_of
from tests.conftest import make_workspace
from tests.flows.harness import store_of

__all__ = ["SMALL", "Plant", "make_plant"]

SMALL: dict[str, dict[str, Any]] = {
    "images": {"size": 64},
    "views": {"train": 2, "score": 2},
    "features": {"scales": [64, 32], "kurtosis_scale": 128, "cell_scale": 128, "cell": 16},
}
"""Parameters under which a round takes seconds."""


@dataclass(frozen=True)
class Plant:
    """One line of a project."""

    project: Path
    made: Path
    name: str = "line3"

    @property
    def inbox(self) -> Path:
        return self.made.parent / f"inbox-{self.name}"

    def line(self) -> Line:
        return load_line(self.name, self.project)

    def params(self) -> Params:
        return line_params(self.line(), self.project)

    def night(self, number: int) -> int:
        """The images of a night arrive."""
        return deliver(self.made, number, self.inbox)

    def retrain(self, **options: object) -> dict[str, Any]:
        from flows.line.retrain import retrain

        return retrain(self.name, str(self.project), **options)  # type: ignore[arg-type, return-value]

    def rounds(self) -> list[LineRound]:
        with contextlib.chdir(self.project):
            return [LineRound(this.path.absolute()) for this in rounds_of(LineFolder(self.name))]

    def aliases(self) -> dict[str, str]:
        from tasks.promotion.registry import open_registry

        with contextlib.chdir(self.project), open_registry(self.line(), self.params()) as registry:
            return registry.aliases()


def make_plant(
    folder: Path, nights: list[Batch], *, golden: Batch | None = None, name: str = "line3", project: Path | None = None,
    method: dict[str, Any] | None = None, mode: str = "always", **settings: Any,
) -> Plant:  # fmt: skip
    """A project with one line more."""
    project = project or make_workspace(folder / "project")
    made = folder / f"made-{name}"
    write_line_plant(made, nights, golden=golden or Batch(1, 1), size=64, seed=3)
    plant = Plant(project, made, name)
    plant.inbox.mkdir()
    line = Line(
        name=name,
        inbox=str(plant.inbox),
        golden=str(made / "golden") if golden else None,
        min_new=10,
        taking=Inbox(settle=0.05),
        promotion=PromotionPolicy(mode=mode),  # type: ignore[arg-type]
        params={
            **SMALL,
            "tracking": {"uri": store_of(project)},
            "refinement": method or {"method": "vanilla"},
        },
        **settings,
    )
    write_line(line, project)
    return plant
