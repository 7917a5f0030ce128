"""Lanes: batches that are computed side by side, each on one core, instead of one after the other on all of them.

The cores of one batch wait for each other at every layer; lanes never do. Whether a batch has the same bits in a lane
is measured by whoever uses them (`irp_core.features.extraction.NetworkPass.find_small_batches`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["Lanes", "lanes_for"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class Lanes:
    """Threads that compute on one core each.

    Example:
        >>> Lanes(2).map(lambda number: (number, torch.get_num_threads()), [3, 4])
        [(3, 1), (4, 1)]
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, "irp-lane", initializer=_on_one_core)

    def map(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """The function's answers, in the order of the items."""
        return list(self._pool.map(function, items))


def lanes_for(device: torch.device) -> Lanes | None:
    """As many lanes as torch has threads; None on one core, or where the work is not the processor's."""
    return Lanes(count) if device.type == "cpu" and (count := torch.get_num_threads()) > 1 else None


def _on_one_core() -> None:
    from threadpoolctl import threadpool_limits

    # Not torch.set_num_threads, which MKL takes for the whole process: OpenMP's own number is the thread's. A thread's
    # first product sets that number, so it comes before.
    torch.zeros(100_000).sum()
    threadpool_limits(limits=1, user_api="openmp")
