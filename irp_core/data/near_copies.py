"""Near-copies: the same picture saved again, and several shots of one part. Copies must not vouch for each other.

All images of a line look alike, so what they have in common says nothing. Two images are near-copies when the rest
agrees: of 64 x 64 grey pixels the low frequencies (lighting) and the mean over the set (the part as such) are taken
away, each pixel is divided by its spread over the set, and the correlation of what is left reaches
`dataset.near_copies`. Measured on five real sets: at 0.9 a picture saved again at JPEG quality 50 or half the size is
found in 92 to 100 % of the cases, a second shot that is displaced by a pixel, 5 % brighter and noisy in 73 to
100 %, and 2 to 8 % of the images of a set are grouped without being copies that were made on purpose (most are shots of
one part; of solar cells without any texture 23 %).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["near_copies"]

_SMOOTH = 2.0  # pixels, sigma of the low frequencies
_AT_ONCE = 1024  # images
_EXACT = 2048  # images; of larger sets only candidates are compared in full
_PROJECTED = 256  # dimensions that candidates are found in
_SLACK = 0.15  # below the correlation that is asked for, of a candidate: its standard error is 1/16
_MANY = 10  # images, or a tenth of the set: a larger group is another kind of part, not a part shot that often


def near_copies(thumbnails: Sequence[NDArray[np.uint8]], correlation: float) -> NDArray[np.intp]:
    """The group of each image (n,); images of one group are near-copies of each other, directly or by others.

    A group of more than ten images, and of more than a tenth of the set, is a kind of its own (a second product,
    another camera): what its images have in common is taken away too, and near-copies are looked for within it.

    Args:
        thumbnails: n grey pictures, uint8 (side, side).
        correlation: in (0, 1].
    """
    labels = np.arange(len(thumbnails))
    if len(thumbnails) < 3:  # what is common to two images is half of each
        return labels
    stack = np.stack(list(thumbnails))
    queue = [labels.copy()]
    most = max(_MANY, len(labels) // 10)
    while queue:
        rows = queue.pop()
        count, groups = connected_components(_pairs(stack[rows], correlation), directed=False)
        sizes = np.bincount(groups, minlength=count)
        for group in np.flatnonzero(sizes > 1):
            members = rows[groups == group]
            if len(members) <= most:
                labels[members] = members.min()
            elif len(members) < len(rows):
                queue.append(members)
    return labels


def _pairs(stack: NDArray[np.uint8], correlation: float) -> coo_array:
    """Adjacency (n, n): which images' rests correlate enough."""
    count = len(stack)
    mean, weight = _common(stack)
    exact = count <= _EXACT
    # The same draw for every set: a projection keeps correlations whatever it is.
    width = stack[0].size
    onto = None if exact else np.random.default_rng(0).standard_normal((width, _PROJECTED)).astype(np.float32)
    whole = np.concatenate([_rest(part, mean, weight, onto) for part in _parts(stack)])
    least = correlation if exact else correlation - _SLACK
    first: list[NDArray[np.intp]] = []
    second: list[NDArray[np.intp]] = []
    for start in range(0, count, _AT_ONCE):
        rows, columns = np.nonzero(whole[start : start + _AT_ONCE] @ whole[start:].T >= least)
        later = columns > rows
        first.append(rows[later] + start)
        second.append(columns[later] + start)
    a, b = np.concatenate(first), np.concatenate(second)
    if not exact:
        agree = [
            (_rest(stack[i], mean, weight) * _rest(stack[j], mean, weight)).sum(axis=1) >= correlation
            for i, j in zip(_parts(a), _parts(b), strict=True)
        ]
        chosen = np.concatenate(agree) if agree else np.zeros(0, dtype=bool)
        a, b = a[chosen], b[chosen]
    return coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(count, count))


def _parts(values: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _fine(stack: NDArray[np.generic]) -> NDArray[np.float32]:
    pictures = stack.astype(np.float32)
    fine: NDArray[np.float32] = pictures - gaussian_filter(pictures, (0, _SMOOTH, _SMOOTH))
    return fine


def _common(stack: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and weight of each pixel (side, side) over the set; the weight stays finite where all images are equal."""
    total = np.zeros(stack.shape[1:])
    squares = np.zeros(stack.shape[1:])
    for part in _parts(stack):
        fine = _fine(part).astype(np.float64)
        total += fine.sum(axis=0)
        squares += np.square(fine).sum(axis=0)
    mean = total / len(stack)
    spread = np.sqrt(np.maximum(squares / len(stack) - np.square(mean), 0.0))
    weight = 1.0 / np.maximum(spread + np.median(spread) / 2.0, 1e-3)
    return mean.astype(np.float32), weight.astype(np.float32)


def _rest(
    part: NDArray[np.generic],
    mean: NDArray[np.float32],
    weight: NDArray[np.float32],
    onto: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """What is an image's own, as rows of length 1 (0 where there is nothing), projected where `onto` is given."""
    rows = ((_fine(part) - mean) * weight).reshape(len(part), -1)
    if onto is not None:
        rows = rows @ onto
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 1e-3, lengths, np.inf)).astype(np.float32)
