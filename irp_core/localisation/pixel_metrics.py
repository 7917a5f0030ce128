"""How well maps find defects, pixel by pixel, where masks say where the defects are. Labels: for evaluation only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["PixelMetrics", "PixelScores", "components"]

_PRO_LIMIT = 0.3  # highest false-positive rate of AUPRO (Bergmann et al., CVPR 2019)
_PIMO_BOUNDS = (1e-5, 1e-4)  # of the false-positive rate on good images (Bertoldo et al., BMVC 2024)
_SHIFT = 10  # bits of a float32 that a bin leaves out: neighbouring bins are 1 in 8,192 apart
_BINS = 1 << (31 - _SHIFT)


@dataclass(frozen=True)
class PixelMetrics:
    """Metrics of maps against masks; None where what they need is missing.

    Attributes:
        pixel_auroc: area under the ROC curve over all pixels.
        aupro: mean share of a defect (a connected component of a mask) that is found, over false-positive rates of
            pixels from 0 to 0.3 (Bergmann et al., CVPR 2019), divided by 0.3.
        aupimo: mean over defective images of the share of their defect pixels that is found, over false-positive rates
            of the pixels of good images from 1e-5 to 1e-4 on a logarithmic scale (Bertoldo et al., BMVC 2024).
        peak_hits: share of the defective images whose map is highest on a defect.
        defects_hit: share of the defects on which some pixel exceeds the maps' threshold.
        good_marked: share of the good images of which some pixel does.
        images, defective: images with a known truth, and those of them with a mask.
        defects: connected components of the masks, at the size of the maps.
        vanished: components of the masks as they were drawn of which nothing is left at the size of the maps.
        without_mask: defective images that have no mask, or one of which nothing is left: they count nowhere.
    """

    pixel_auroc: float | None
    aupro: float | None
    aupimo: float | None
    peak_hits: float | None
    defects_hit: float | None
    good_marked: float | None
    images: int
    defective: int
    defects: int
    vanished: int
    without_mask: int

    def plain(self) -> dict[str, float | int | None]:
        """By name, for tables."""
        return asdict(self)


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected components of a mask (height, width): their numbers from 1, and how many there are. Pixels that touch
    at a corner are connected.

    Example:
        >>> components(np.array([[True, False], [False, True]]))[1]
        1
    """
    numbered, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return numbered, int(count)


@dataclass
class PixelScores:
    """Collects maps and masks one image at a time; of good pixels only counts are kept.

    Args:
        threshold: of the maps, where it is known.

    Scores are counted in bins of a relative width of 1/8192: two that are closer may count as equal.

    Example:
        >>> collected = PixelScores()
        >>> collected.add(np.array([[9.0, 1.0], [1.0, 1.0]]), np.array([[True, False], [False, False]]))
        >>> collected.add(np.array([[2.0, 1.0], [1.0, 1.0]]), np.zeros((2, 2), dtype=bool))
        >>> found = collected.metrics()
        >>> found.pixel_auroc, found.aupro, round(found.aupimo or 0, 6), found.peak_hits
        (1.0, 1.0, 1.0, 1.0)
    """

    threshold: float | None = None
    _good: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))
    _good_images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))
    _defects: list[NDArray[np.int32]] = field(default_factory=list)  # bins of each component's pixels
    _per_image: list[NDArray[np.int32]] = field(default_factory=list)  # … of each defective image's
    _hits: list[bool] = field(default_factory=list)
    _highest: list[float] = field(default_factory=list)  # of each defect's pixels
    _highest_good: list[float] = field(default_factory=list)  # of each good image's
    _images: int = 0
    _vanished: int = 0
    _without_mask: int = 0

    def add(self, scores: NDArray[np.floating[Any]], mask: NDArray[np.bool_], *, vanished: int = 0) -> None:
        """Add an image.

        Args:
            scores: its map (height, width), positive.
            mask: its defects (height, width); none is True where the image is good.
            vanished: components of the mask that were lost on the way to this size.

        Raises:
            ValueError: shapes that differ, scores that are not positive and finite.
        """
        if scores.shape != mask.shape:
            raise ValueError(f"PixelScores.add expects a map of the mask's shape {mask.shape}. Got {scores.shape}.")
        values = np.ascontiguousarray(scores, dtype=np.float32)
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError("PixelScores.add expects positive, finite scores.")
        self._vanished += vanished
        if vanished and not mask.any():
            self._without_mask += 1  # neither good nor to be found
            return
        self._images += 1
        bins = values.view(np.int32) >> _SHIFT  # the bits of positive floats are in the order of their values
        self._good += np.bincount(bins[~mask], minlength=_BINS)
        if not mask.any():
            self._good_images += np.bincount(bins.ravel(), minlength=_BINS)
            self._highest_good.append(float(values.max()))
            return
        numbered, count = components(mask)
        self._defects += [bins[numbered == number] for number in range(1, count + 1)]
        self._highest += [float(values[numbered == number].max()) for number in range(1, count + 1)]
        self._per_image.append(bins[mask])
        self._hits.append(bool(mask.flat[int(values.argmax())]))

    def add_unmarked(self) -> None:
        """Count a defective image that has no mask."""
        self._without_mask += 1

    def metrics(self) -> PixelMetrics:
        """The metrics of all images so far."""
        return PixelMetrics(
            pixel_auroc=self._auroc() if self._defects and self._good.any() else None,
            aupro=self._aupro() if self._defects and self._good.any() else None,
            aupimo=self._aupimo() if self._defects and self._good_images.any() else None,
            peak_hits=float(np.mean(self._hits)) if self._hits else None,
            defects_hit=self._share_above(self._highest),
            good_marked=self._share_above(self._highest_good),
            images=self._images,
            defective=len(self._per_image),
            defects=len(self._defects),
            vanished=self._vanished,
            without_mask=self._without_mask,
        )

    def _share_above(self, highest: list[float]) -> float | None:
        if self.threshold is None or not highest:
            return None
        return float(np.mean(np.array(highest) > self.threshold))

    def _auroc(self) -> float:
        below = np.cumsum(self._good) - self._good
        marked = np.concatenate(self._per_image)
        return float((below[marked] + 0.5 * self._good[marked]).mean() / self._good.sum())

    def _aupro(self) -> float:
        found = np.zeros(_BINS)
        for defect in self._defects:
            found += np.bincount(defect, minlength=_BINS) / len(defect)
        used = np.flatnonzero((self._good > 0) | (found > 0))[::-1]  # from the highest threshold down
        rate = np.concatenate([[0.0], np.cumsum(self._good[used]) / self._good.sum()])
        overlap = np.concatenate([[0.0], np.cumsum(found[used]) / len(self._defects)])
        inside = rate <= _PRO_LIMIT
        at_limit = np.interp(_PRO_LIMIT, rate, overlap)
        x, y = np.append(rate[inside], _PRO_LIMIT), np.append(overlap[inside], at_limit)
        return float(np.trapezoid(y, x) / _PRO_LIMIT)

    def _aupimo(self) -> float:
        low, high = _PIMO_BOUNDS
        # Share of the good images' pixels in this bin or a higher one.
        rate = np.cumsum(self._good_images[::-1])[::-1] / self._good_images.sum()
        # At a rate f the threshold is the lowest bin whose rate is at most f: a step from each rate to the next.
        steps = np.unique(np.append(rate[rate <= high], 0.0))
        weights = np.diff(np.log(np.clip(np.append(steps, high), low, high))) / np.log(high / low)
        thresholds = _BINS - np.searchsorted(rate[::-1], steps, side="right")
        overlaps = []
        for pixels in self._per_image:
            ordered = np.sort(pixels)
            overlaps.append(1.0 - np.searchsorted(ordered, thresholds, side="left") / len(ordered))
        return float((np.array(overlaps) * weights).sum(axis=1).mean())
