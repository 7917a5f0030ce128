"""Batches of one size, and which smaller ones give a row the very same bits: what a single image may be computed in.

The kernels of the linear-algebra library, and with them a number's last bit, depend on a batch's shape. So batches have
one size, and what is left over is padded: for one image most of the work is padding. Whether a smaller batch gives the
same bits is a property of the machine, the library and the number of threads; it is measured, never assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["alike_sizes", "equal_batches", "padded_size"]

Rows = NDArray[Any]


def alike_sizes(rows: Callable[[Rows], Rows], probe: Rows, whole: Rows | None = None) -> tuple[int, ...]:
    """The powers of two below `len(probe)` in which every row of `probe` has the bits that it has in one batch.

    Args:
        rows: (n, …) → (n, …), the computation.
        probe: as many rows as a full batch; drawn at random, so that another order of summation shows.
        whole: the rows of the full batch, where they are known.

    Example:
        >>> alike_sizes(lambda batch: batch * 2.0, np.arange(8.0))
        (1, 2, 4)
        >>> alike_sizes(lambda batch: batch + (len(batch) < 4), np.arange(8.0))
        (4,)
    """
    whole = rows(probe) if whole is None else whole
    sizes = [2**power for power in range(len(probe).bit_length()) if 2**power < len(probe)]
    return tuple(size for size in sizes if len(probe) % size == 0 and _alike(rows, probe, whole, size))


def padded_size(count: int, full: int, alike: tuple[int, ...] = ()) -> int:
    """To how many rows a batch of `count` is padded: the smallest of `alike` that holds it, else `full`.

    Example:
        >>> padded_size(3, 8, (2, 4)), padded_size(5, 8, (2, 4)), padded_size(1, 8)
        (4, 8, 8)
    """
    return min((size for size in alike if size >= count), default=full)


def equal_batches(samples: Tensor, full: int, alike: tuple[int, ...] = ()) -> Iterator[Tensor]:
    """Rows (n, d) in batches of `full`; the last repeats its last row up to `full`, or to a size of `alike`.

    Example:
        >>> [len(batch) for batch in equal_batches(torch.zeros(11, 2), 8)]
        [8, 8]
        >>> [len(batch) for batch in equal_batches(torch.zeros(11, 2), 8, (4,))]
        [8, 4]
    """
    for batch in samples.split(full):
        missing = padded_size(len(batch), full, alike) - len(batch) if len(batch) < full else 0
        yield batch if not missing else _with_last_repeated(batch, missing)


def _with_last_repeated(batch: Tensor, times: int) -> Tensor:
    return torch.cat([batch, batch[-1:].expand(times, -1)])


def _alike(rows: Callable[[Rows], Rows], probe: Rows, whole: Rows, size: int) -> bool:
    return all(
        np.array_equal(rows(probe[first : first + size]), whole[first : first + size])
        for first in range(0, len(probe), size)
    )
