"""The refinement loop, stated once: train, score, track, decide, and either stop or go on.

Two backends carry the steps out: `flows/refine.py` with Prefect tasks, a run's directory, MLflow and DVC, and
`irp_core/refinement/in_memory.py` with arrays and nothing else.
"""

from __future__ import annotations

from itertools import count
from typing import Protocol

from irp_core.refinement.rounds import StopReason

__all__ = ["Steps", "refinement_loop"]


class Steps(Protocol):
    """What the loop needs done. Model 0 trains on the whole set; round k cuts the training set of model k."""

    def snapshot(self, iteration: int) -> None:
        """Keep a version of the training set of model `iteration`."""
        ...

    def train(self, iteration: int) -> None:
        """Train model `iteration` on its training set."""
        ...

    def score(self, iteration: int) -> None:
        """Score the training set of model `iteration` (and, in a reversible refinement, what was removed before)."""
        ...

    def track(self, iteration: int) -> None:
        """Put model `iteration`, its scores and its training set on record."""
        ...

    def decide(self, iteration: int) -> StopReason | None:
        """Decide from the newest scores what model `iteration` trains without; a reason where there is to be none."""
        ...


def refinement_loop(steps: Steps) -> int:
    """Refine until a round gives a reason to stop; returns the number of the last model."""
    for iteration in count():
        steps.snapshot(iteration)
        steps.train(iteration)
        steps.score(iteration)
        steps.track(iteration)
        if steps.decide(iteration + 1) is not None:
            return iteration
    raise AssertionError("count() does not end")
