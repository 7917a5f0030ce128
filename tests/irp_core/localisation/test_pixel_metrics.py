"""Pixel metrics against cases computed by hand, and against a slow reference that tries every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from irp_core.localisation.pixel_metrics import PixelScores

Case = list[tuple[NDArray[np.float64], NDArray[np.bool_]]]


def collect(case: Case) -> PixelScores:
    collected = PixelScores()
    for scores, mask in case:
        collected.add(scores, mask)
    return collected


def test_by_hand() -> None:
    # Ten good pixels: 1 ... 10. Two defects: one pixel of 11 (above all), and two pixels of 8.5 and 0.5.
    scores = np.array([[11.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 8.5, 0.5]])
    mask = np.zeros_like(scores, dtype=bool)
    mask[0, [0, 11, 12]] = True
    found = collect([(scores, mask)]).metrics()
    assert (found.defects, found.defective, found.peak_hits) == (2, 1, 1.0)
    # 11 is above all ten, 8.5 above eight of them, 0.5 above none.
    assert found.pixel_auroc == pytest.approx((10 + 8 + 0) / 30)
    # The first defect is found at every rate, half of the second from rate 0.2 on: 0.5 on [0, 0.2], then 0.75. The
    # curve is (0, 0.5), (0.1, 0.5), (0.2, 0.5), then straight up to 0.75 at 0.2, and on to 0.3.
    assert found.aupro == pytest.approx((0.5 * 0.2 + 0.75 * 0.1) / 0.3)
    assert found.aupimo is None  # there is no good image


def test_what_is_outlined_by_hand() -> None:
    collected = PixelScores(threshold=4.0)
    mask = np.zeros((3, 8), dtype=bool)
    mask[0, 0], mask[2, 4:6], mask[0, 7] = True, True, True
    bad = np.ones((3, 8))
    bad[0, 0], bad[2, 5], bad[0, 7] = 4.5, 4.0, 9.0  # above, at and far above the threshold
    collected.add(bad, mask)
    for highest in (1.0, 5.0, 3.0, 4.0):
        good = np.ones((3, 8))
        good[1, 1] = highest
        collected.add(good, np.zeros_like(mask))
    found = collected.metrics()
    assert (found.defects_hit, found.good_marked) == (pytest.approx(2 / 3), 0.25)
    assert collect([(bad, mask)]).metrics().defects_hit is None  # no threshold is known


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (40, 3)])
def test_masks_that_fill_the_image_or_maps_that_are_flat_break_nothing(shape: tuple[int, int]) -> None:
    flat, full, none = np.full(shape, 2.0), np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    found = collect([(flat, full), (flat, none)]).metrics()
    assert (found.pixel_auroc, found.peak_hits, found.defects) == (0.5, 1.0, 1)
    assert found.aupro == pytest.approx(0.15)  # as by chance: as much of the defect as of the good pixels, up to 0.3
    assert found.aupimo == 0.0
    alone = collect([(flat, full)]).metrics()
    assert (alone.pixel_auroc, alone.aupro, alone.aupimo) == (None, None, None)
    assert collect([(flat, none)]).metrics().peak_hits is None


def test_aupimo_by_hand() -> None:
    # 100,000 good pixels: one of 5, three of 4, the others 1. FPR 1e-5 above 4, 4e-5 above 1, 1 below.
    good = np.ones((250, 400))
    good[0, 0], good[0, 1:4] = 5.0, 4.0
    bad = np.full((250, 400), 0.5)
    mask = np.zeros_like(bad, dtype=bool)
    mask[10, 10:14] = True
    bad[10, 10:14] = [6.0, 4.5, 3.0, 0.7]
    found = collect([(good, np.zeros_like(mask)), (bad, mask)]).metrics()
    # From 1e-5 to 4e-5: above 4 are 2 of the 4 pixels; from 4e-5 to 1e-4: above 1 are 3 of them.
    assert found.aupimo == pytest.approx((0.5 * np.log10(4) + 0.75 * np.log10(2.5)), abs=1e-9)


def reference(case: Case) -> tuple[float, float, float, float]:
    """Every threshold, one after another."""
    values = np.unique(np.concatenate([scores.ravel() for scores, _ in case]))[::-1]
    regions = []
    for scores, mask in case:
        numbered, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [scores[numbered == i] for i in range(1, count + 1)]
    negatives = np.concatenate([scores[~mask] for scores, mask in case])
    rate = np.array([0.0] + [(negatives >= t).mean() for t in values])
    overlap = np.array([0.0] + [np.mean([(region >= t).mean() for region in regions]) for t in values])
    grid = np.linspace(0, 0.3, 30_001)
    aupro = np.trapezoid(np.interp(grid, rate, overlap), grid) / 0.3
    good = np.concatenate([scores.ravel() for scores, mask in case if not mask.any()])
    at = np.geomspace(1e-5, 1e-4, 4001)
    ordered = np.sort(good)[::-1]
    per_image = []
    for scores, mask in case:
        if mask.any():
            # The lowest threshold that at most a share f of the good pixels reaches: just above the next one.
            limits = ordered[np.floor(at * len(good) + 1e-9).astype(int)]
            per_image.append(np.mean([(scores[mask] > limit).mean() for limit in limits]))
    hits = [mask.flat[scores.argmax()] for scores, mask in case if mask.any()]
    labels = np.concatenate([mask.ravel() for _, mask in case])
    auroc = roc_auc_score(labels, np.concatenate([scores.ravel() for scores, _ in case]))
    return float(auroc), float(aupro), float(np.mean(per_image)), float(np.mean(hits))


@pytest.mark.parametrize("seed", range(3))
def test_against_the_reference(seed: int) -> None:
    random = np.random.default_rng(seed)
    case: Case = []
    for number in range(6):
        scores = np.round(random.gamma(4.0, size=(60, 60)) * 64) / 64 + 1 / 64  # coarser than a bin: ties are ties
        mask = np.zeros((60, 60), dtype=bool)
        if number % 2:
            for _ in range(3):
                y, x = random.integers(0, 50, 2)
                mask[y : y + random.integers(1, 9), x : x + random.integers(1, 9)] = True
            scores[mask] += np.round(random.uniform(0, 20) * 64) / 64
        case.append((scores, mask))
    found = collect(case).metrics()
    auroc, aupro, aupimo, hits = reference(case)
    assert found.pixel_auroc == pytest.approx(auroc, abs=1e-3)
    assert found.aupro == pytest.approx(aupro, abs=2e-3)
    assert found.aupimo == pytest.approx(aupimo, abs=2e-3)
    assert found.peak_hits == hits


def test_what_cannot_be_judged_is_counted_and_not_judged() -> None:
    collected = PixelScores()
    nothing = np.zeros((4, 4), dtype=bool)
    collected.add(np.ones((4, 4)), nothing, vanished=2)
    collected.add_unmarked()
    found = collected.metrics()
    assert (found.images, found.vanished, found.without_mask) == (0, 2, 2)
    assert found.pixel_auroc is found.aupro is found.aupimo is found.peak_hits is None
    with pytest.raises(ValueError, match="positive"):
        collected.add(np.zeros((4, 4)), nothing)
