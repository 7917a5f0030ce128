"""Near-copies: the same picture saved again, and several shots of one part. Copies must not vouch for each other.

All images of a line look alike, so what they have in common says nothing. Two images are near-copies when the rest
agrees: of 64 x 64 grey pixels the low frequencies (lighting) and as much of the set's mean as an image has (the part as
such) are taken away, each pixel is divided by its spread over the set, and the correlation of what is left reaches
`dataset.near_copies`.

Measured at 0.9 on five real sets (bottles, magnetic tiles, screws, solar cells, commutators): a picture saved again at
JPEG quality 50 is found always, at half the size in 92 to 100 % of the cases; a second shot, 5 % brighter, noisy and
displaced by a pixel, in 73 to 100 %, displaced by three in 23 to 98 %. Of the sets as they are 1 to 10 % of the images
are grouped, mostly shots of one part, in groups of 2 to 5; of the solar cells, many without any texture, 21 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["near_copies"]

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]

_SMOOTH = 2.0  # pixels, sigma of the low frequencies
_AT_ONCE = 1024  # images
_EXACT = 2048  # images; of larger sets only candidates are compared in full
_PROJECTED = 256  # dimensions that candidates are found in
_ALL = 20_000  # images; of larger sets not all pairs are candidates, but those that agree in some random signs
_TABLES, _NEXT, _DIFFER = 64, 32, 90  # orders of the images, how far is looked in each, signs of 256 that may differ
_SLACK = 0.15  # below the correlation that is asked for, of a candidate: its standard error is 1/16
_MANY = 10  # images, or a tenth of the set: a larger group is another kind of part, not a part shot that often


class Pictures(Protocol):
    """Grey pictures: `pictures[rows]` are those at these places, uint8 (rows, side, side); an array is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.intp], /) -> NDArray[np.uint8]: ...


def near_copies(thumbnails: Pictures, correlation: float) -> NDArray[np.intp]:
    """The group of each image (n,); images of one group are near-copies of each other, directly or by others.

    A group of more than ten images, and of more than a tenth of the set, is a kind of its own (a second product,
    another camera): what its images have in common is taken away too, and near-copies are looked for within it.

    Args:
        thumbnails: n grey pictures; a thousand of them at a time are read.
        correlation: in (0, 1].
    """
    labels = np.arange(len(thumbnails))
    if len(thumbnails) < 3:  # what is common to two images is half of each
        return labels
    queue = [labels.copy()]
    most = max(_MANY, len(labels) // 10)
    while queue:
        rows = queue.pop()
        count, groups = connected_components(_pairs(thumbnails, rows, correlation), directed=False)
        sizes = np.bincount(groups, minlength=count)
        for group in np.flatnonzero(sizes > 1):
            members = rows[groups == group]
            if len(members) <= most:
                labels[members] = members.min()
            elif len(members) < len(rows):
                queue.append(members)
    return labels


def _pairs(thumbnails: Pictures, rows: NDArray[np.intp], correlation: float) -> coo_array:
    """Adjacency (n, n): which of the images `rows` (n,) have rests that correlate enough."""
    count = len(rows)
    mean, weight = _common(thumbnails, rows)
    exact = count <= _EXACT
    # The same draw for every set: a projection keeps correlations whatever it is.
    width = mean.size
    onto = None if exact else np.random.default_rng(0).standard_normal((width, _PROJECTED)).astype(np.float32)
    whole = np.empty((count, width if exact else _PROJECTED), dtype=np.float32)
    for start, part in zip(range(0, count, _AT_ONCE), _parts(thumbnails, rows), strict=True):
        whole[start : start + len(part)] = _rest(part, mean, weight, onto)
    least = correlation if exact else correlation - _SLACK
    a, b = _alike(whole, least) if count <= _ALL else _alike_by_signs(whole, least)
    if not exact:
        agree = [
            (_rest(i, mean, weight) * _rest(j, mean, weight)).sum(axis=1) >= correlation
            for i, j in zip(_parts(thumbnails, rows[a]), _parts(thumbnails, rows[b]), strict=True)
        ]
        chosen = np.concatenate(agree) if agree else np.zeros(0, dtype=bool)
        a, b = a[chosen], b[chosen]
    return coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(count, count))


def _alike(whole: NDArray[np.float32], least: float) -> Pairs:
    """All pairs of rows (n, d) of length 1 whose product is `least` or more."""
    first: list[NDArray[np.intp]] = []
    second: list[NDArray[np.intp]] = []
    for start in range(0, len(whole), _AT_ONCE):
        rows, columns = np.nonzero(whole[start : start + _AT_ONCE] @ whole[start:].T >= least)
        later = columns > rows
        first.append(rows[later] + start)
        second.append(columns[later] + start)
    return np.concatenate(first), np.concatenate(second)


def _alike_by_signs(whole: NDArray[np.float32], least: float) -> Pairs:
    """Nearly all such pairs, in time that grows with n rather than its square.

    The sign of a coordinate of projected rows is that of a random hyperplane: rows at correlation r differ in a share
    of arccos(r) / π of them (Charikar, 2002), 14 % at 0.9. Rows are put in the order of some of their signs, other ones
    each time, and held against those that follow and agree in the first log2(n) - 3 signs. Were signs independent,
    a pair at 0.9 would be missed in all orders once in 9,000 at 100,000 images, once in 270 at a million.
    """
    count, signs = len(whole), np.packbits(whole > 0, axis=1).view(np.uint64)
    leading = np.uint64(64 - max(1, int(np.log2(count)) - 3))
    rng = np.random.default_rng(1)
    found: list[NDArray[np.int64]] = []
    for _ in range(_TABLES):
        columns = rng.permutation(whole.shape[1])[:64]
        key = np.ascontiguousarray(np.packbits(whole[:, columns] > 0, axis=1)).view(">u8")[:, 0].astype(np.uint64)
        order = np.argsort(key, kind="stable")
        bucket = key[order] >> leading
        for step in range(1, _NEXT + 1):
            near = np.flatnonzero(bucket[step:] == bucket[:-step])
            if not len(near):
                break
            i, j = order[near], order[near + step]
            close = np.bitwise_count(signs[i] ^ signs[j]).sum(axis=1) <= _DIFFER
            found.append(np.minimum(i, j)[close] * count + np.maximum(i, j)[close])
    pairs = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    a, b = np.divmod(pairs, count)
    agree = [
        np.einsum("nd,nd->n", whole[a[start : start + _AT_ONCE]], whole[b[start : start + _AT_ONCE]]) >= least
        for start in range(0, len(a), _AT_ONCE)
    ]
    chosen = np.concatenate(agree) if agree else np.zeros(0, dtype=bool)
    return a[chosen], b[chosen]


def _parts(thumbnails: Pictures, rows: NDArray[np.intp]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield thumbnails[rows[start : start + _AT_ONCE]]


def _fine(stack: NDArray[np.generic]) -> NDArray[np.float32]:
    pictures = stack.astype(np.float32)
    fine: NDArray[np.float32] = pictures - gaussian_filter(pictures, (0, _SMOOTH, _SMOOTH))
    return fine


def _common(thumbnails: Pictures, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and weight of each pixel (side, side) over the set; the weight stays finite where all images are equal."""
    shape = thumbnails[rows[:1]].shape[1:]
    total, squares = np.zeros(shape), np.zeros(shape)
    for part in _parts(thumbnails, rows):
        fine = _fine(part).astype(np.float64)
        total += fine.sum(axis=0)
        squares += np.square(fine).sum(axis=0)
    mean = total / len(rows)
    spread = np.sqrt(np.maximum(squares / len(rows) - np.square(mean), 0.0))
    weight = 1.0 / np.maximum(spread + np.median(spread) / 2.0, 1e-3)
    return mean.astype(np.float32), weight.astype(np.float32)


def _rest(
    part: NDArray[np.generic],
    mean: NDArray[np.float32],
    weight: NDArray[np.float32],
    onto: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """What is an image's own, as rows of length 1 (0 where there is nothing), projected where `onto` is given."""
    rows = (_fine(part) * weight).reshape(len(part), -1)
    common = (mean * weight).ravel()
    # As much of the mean as each image has: a brighter shot has more of it.
    rows -= np.outer(rows @ common / max(float(common @ common), 1e-12), common)
    if onto is not None:
        rows = rows @ onto
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 1e-3, lengths, np.inf)).astype(np.float32)
