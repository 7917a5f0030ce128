"""Where each image stands among the others: its scores on one scale, and its appearance in a few numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

__all__ = ["Landscape", "landscape"]

_COMPONENTS = 30  # of the features; the rest is noise to a model of thirty answers
_CLIP = (-4.0, 6.0)  # robust standard deviations: beyond, a score tells nothing more
_NEIGHBOURS = 10
_MANY = 20_000  # contents: of more, features are read twice instead of held, and resemblance is to so many of them

Appearance = Callable[[NDArray[np.intp]], Iterable[NDArray[np.floating]]]
"""Images, by their number → their features (k, d), some at a time, in order."""


@dataclass(frozen=True)
class Landscape:
    """The different contents of a set; copies of one file stand for one another.

    `contents` (c,) are the digests, sorted. `of_image` (n,) is each image's content, as an index. `heights` (c, m) are
    the members' log scores, standardised by median and median absolute deviation and clipped. `components`
    (c, k) are the principal components of the features, not whitened, with a mean squared norm of 1.
    `neighbours` (c, q) are the contents that each resembles most, the nearest first; of more than 20,000 contents,
    among 20,000 of them, drawn by their digests.
    """

    contents: tuple[str, ...]
    of_image: NDArray[np.intp]
    heights: NDArray[np.float64]
    components: NDArray[np.float64]
    neighbours: NDArray[np.intp]

    def table(self, md5s: Sequence[str]) -> pd.DataFrame:
        """A row per different md5 of the images (n,): `md5`, its `content`, `height_*` and `component_*`."""
        known = pd.DataFrame({"md5": list(md5s), "place": self.of_image}).drop_duplicates("md5").sort_values("md5")
        places = known["place"].to_numpy()
        heights = {f"height_{number:02d}": values[places] for number, values in enumerate(self.heights.T)}
        components = {f"component_{number:02d}": values[places] for number, values in enumerate(self.components.T)}
        contents = [self.contents[place] for place in places]
        return pd.DataFrame({"md5": known["md5"].to_numpy(), "content": contents, **heights, **components})

    @classmethod
    def of_table(cls, table: pd.DataFrame, md5s: Sequence[str]) -> Landscape:
        """The landscape of these images (n,), from its table.

        Raises:
            ValueError: an image that the table does not hold.
        """
        content = dict(zip(table["md5"], table["content"], strict=True))
        if missing := sorted(set(md5s) - set(content)):
            raise ValueError(f"Landscape.of_table expects the table of these images. {missing[0]} is not in it.")
        known = table.drop_duplicates("content").sort_values("content")
        place = {name: index for index, name in enumerate(known["content"])}
        components = known.filter(regex="^component_").to_numpy()
        return cls(
            contents=tuple(known["content"]),
            of_image=np.array([place[content[md5]] for md5 in md5s], dtype=np.intp),
            heights=known.filter(regex="^height_").to_numpy(),
            components=components,
            neighbours=_neighbours(components),
        )

    def __len__(self) -> int:
        return len(self.contents)

    @property
    def total(self) -> NDArray[np.float64]:
        """The members' heights together (c,): their sum, scaled as if they were independent."""
        summed: NDArray[np.float64] = self.heights.sum(axis=1) / np.sqrt(self.heights.shape[1])
        return summed


def landscape(
    scores: NDArray[np.float64], features: NDArray[np.floating] | Appearance, contents: Sequence[str]
) -> Landscape:
    """Bring scores and features of n images to one scale.

    Args:
        scores: (n, m), positive: each member's, out of fold or otherwise not flattered by memory.
        features: (n, d), of whole images, or what gives those of some of them; standardised here.
        contents: digest of each image (n,). Of copies the first counts.

    Raises:
        ValueError: shapes that do not fit each other, scores that are not positive and finite, features that are not
            finite, or fewer than three different contents.
    """
    scores = np.asarray(scores, dtype=np.float64)
    shape = (len(contents), 0) if callable(features) else np.shape(features)
    if scores.ndim != 2 or len(shape) != 2 or not len(scores) == shape[0] == len(contents):
        raise ValueError(
            f"landscape expects scores (n, m), features (n, d) and n contents. "
            f"Got {scores.shape}, {shape} and {len(contents)}."
        )
    if not (np.isfinite(scores).all() and (scores > 0).all()):
        raise ValueError("landscape expects positive scores and finite features. Got others.")
    known, first, of_image = np.unique(np.asarray(contents, dtype=str), return_index=True, return_inverse=True)
    if len(known) < 3:
        raise ValueError(f"landscape expects at least 3 different images. Got {len(known)}.")
    appearance = features if callable(features) else lambda images: [np.asarray(features)[images]]
    components = _components(appearance, first)
    return Landscape(
        contents=tuple(known.tolist()),
        of_image=of_image.astype(np.intp),
        heights=np.clip(_standardised(np.log(scores[first])), *_CLIP),
        components=components,
        neighbours=_neighbours(components),
    )


def _standardised(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = stats.median_abs_deviation(logs, axis=0, scale="normal")
    # Half of the scores equal: the standard deviation still tells the others apart.
    spread = np.where(spread > 1e-9, spread, np.maximum(logs.std(axis=0), 1e-9))
    standardised: NDArray[np.float64] = (logs - np.median(logs, axis=0)) / spread
    return standardised


def _components(appearance: Appearance, images: NDArray[np.intp]) -> NDArray[np.float64]:
    components = _projected(appearance, images) if len(images) > _MANY else _decomposed(appearance, images)
    size = np.sqrt(np.square(components).sum(axis=1).mean())
    return components / max(float(size), 1e-9)


def _decomposed(appearance: Appearance, images: NDArray[np.intp]) -> NDArray[np.float64]:
    values = np.concatenate([_finite(block) for block in appearance(images)])
    standardised = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    count = min(_COMPONENTS, *standardised.shape)
    components: NDArray[np.float64] = PCA(count, random_state=0).fit_transform(standardised)
    return components


def _projected(appearance: Appearance, images: NDArray[np.intp]) -> NDArray[np.float64]:
    """The same, up to sign and rounding, from the covariance: the features are read twice and never held."""
    total, products, shift = np.zeros(0), np.zeros((0, 0)), np.zeros(0)
    for values in map(_finite, appearance(images)):
        if not shift.size:
            shift = values.mean(axis=0)
            total, products = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
        values = values - shift
        total += values.sum(axis=0)
        products += values.T @ values
    centre = total / len(images)
    covariance = products / len(images) - np.outer(centre, centre)
    spread = np.maximum(np.sqrt(np.maximum(covariance.diagonal(), 0.0)), 1e-6)
    _, vectors = np.linalg.eigh(covariance / np.outer(spread, spread))
    axes = vectors[:, ::-1][:, :_COMPONENTS]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    mean, axes = shift + centre, axes / spread[:, None]
    return np.concatenate([(values - mean) @ axes for values in map(_finite, appearance(images))])


def _finite(block: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(block, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("landscape expects positive scores and finite features. Got others.")
    return values


_LATEST: dict[bytes, NDArray[np.intp]] = {}  # digest of the components → neighbours, of the latest landscape


def _neighbours(components: NDArray[np.float64]) -> NDArray[np.intp]:
    """The same landscape is read again by each step of a round; its neighbours are looked for once."""
    digest = hashlib.sha256(repr(components.shape).encode() + np.ascontiguousarray(components).tobytes()).digest()
    found = _LATEST.get(digest)
    if found is None:
        found = _nearest(components)
        found.setflags(write=False)
        _LATEST.clear()
        _LATEST[digest] = found
    return found


def _nearest(components: NDArray[np.float64]) -> NDArray[np.intp]:
    count = min(_NEIGHBOURS, len(components) - 1)
    if len(components) <= _MANY:
        found = NearestNeighbors(n_neighbors=count).fit(components).kneighbors(return_distance=False)
        return np.asarray(found, dtype=np.intp)
    # Contents are in the order of their digests, so that evenly spaced ones are drawn at random.
    drawn = np.linspace(0, len(components) - 1, _MANY).astype(np.intp)
    near = drawn[NearestNeighbors(n_neighbors=count + 1).fit(components[drawn]).kneighbors(components)[1]]
    # An image that was drawn is its own nearest, or as near as a copy: it does not vouch for itself.
    itself = near == np.arange(len(near))[:, None]
    itself[~itself.any(axis=1), -1] = True
    found = near[~itself].reshape(len(near), count)
    return np.asarray(found, dtype=np.intp)
