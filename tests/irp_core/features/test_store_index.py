"""The store's index: the order of its entries, whatever digests look like."""

from __future__ import annotations

import numpy as np
import pytest

from irp_core.features.segments import Keys
from irp_core.features.store_index import StoreIndex


@pytest.mark.parametrize("bits", [1, 6, 40, 64])  # of the digests that differ: the index sorts by the upper ones first
def test_every_entry_is_found_and_the_first_of_two(bits: int) -> None:
    rng = np.random.default_rng(bits)
    digests = rng.integers(0, 2 ** (bits - 1), (3000, 2), dtype=np.uint64, endpoint=True)
    index, wanted = StoreIndex(), dict[tuple[int, int], tuple[int, int]]()
    for segment, start in enumerate(range(0, 3000, 500)):
        part = digests[start : start + 500]
        index.add(segment, Keys(part, np.zeros(500, dtype=np.uint16)))
        for row, (high, low) in enumerate(part.tolist()):
            wanted.setdefault((high, low), (segment, row))
    places = index.find(digests, 1)
    found = list(zip(places.segment[:, 0].tolist(), places.row[:, 0].tolist(), strict=True))
    assert found == [wanted[high, low] for high, low in digests.tolist()]
    assert len(index) == len(wanted)
    assert (index.find(digests ^ np.uint64(1 << 63), 1).segment == -1).all() or bits == 64
