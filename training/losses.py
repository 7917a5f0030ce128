"""How far the student is from the teacher: on the maps, and on whitened pooled features.

The detectors that read these features whiten them, so a direction in which a product varies little counts as much as
one in which it varies a lot. Plain mean squared error ignores such directions; the whitened terms do not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DistillationLoss"]

Streams = list[Tensor]
"""Residual streams after the stem and after each block, as `BundledEncoder.streams` gives them."""

LAYERS = {"layer2": 4, "layer3": 6}
HINTS = {"stem": 0, "layer1.0": 1, "layer1.1": 2, "layer2.0": 3, "layer3.0": 5}


def _pooled(maps: Tensor, groups: int, level: int) -> Tensor:
    """Averages over a ``level x level`` grid, ``(groups, crops * level^2, C)``."""
    cells = F.adaptive_avg_pool2d(maps, level).flatten(2).transpose(1, 2)
    return cells.reshape(groups, -1, maps.shape[1])


def _whitening(covariance: Tensor, floor: float) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance.double())
    scale = (values.clamp_min(0) + floor * values.mean()).rsqrt()
    return ((vectors * scale) / len(values) ** 0.5).float()


class DistillationLoss:
    """Relative errors, each about 1 for a student that outputs a constant.

    Terms, for both layers: ``map``, the squared error per channel over the teacher's variance; for pooling grids of
    1 and 2: ``within``, the error of pooled features around their group's mean, whitened by the teacher's within-group
    covariance; ``total``, the same around nothing, whitened by the covariance over all groups. The streams between the
    two layers have a ``map`` term too, as hints (Romero et al. 2015) that training lets go of.

    Args:
        batches: teacher maps of a few hundred crops, to estimate the moments from.
        groups: groups per batch, as `training.augment.draw_batch` was called with.
        floor: added to the eigenvalues, in units of their mean; what a shrinkage estimator would do.
    """

    def __init__(self, batches: list[Streams], groups: int, floor: float = 0.01) -> None:
        self.variance: dict[str, Tensor] = {}
        self.whitening: dict[tuple[str, int, str], Tensor] = {}
        for layer, index in (LAYERS | HINTS).items():
            flat = torch.cat([streams[index].transpose(0, 1).flatten(1)[:, ::7] for streams in batches], 1)
            variance = flat.var(1)
            self.variance[layer] = variance + 0.01 * variance.mean()
        for layer, index in LAYERS.items():
            for level in (1, 2):
                pooled = [_pooled(streams[index], groups, level) for streams in batches]
                total = torch.cat([p.flatten(0, 1) for p in pooled])
                within = torch.cat([(p - p.mean(1, keepdim=True)).flatten(0, 1) for p in pooled])
                for name, rows in (("total", total - total.mean(0)), ("within", within)):
                    self.whitening[layer, level, name] = _whitening(rows.T @ rows / len(rows), floor)

    def terms(self, student: Streams, teacher: Streams, groups: int) -> dict[str, Tensor]:
        """All terms of one batch, by name."""
        terms: dict[str, Tensor] = {}
        for layer, index in (LAYERS | HINTS).items():
            error = (student[index] - teacher[index]).square().mean((0, 2, 3))
            terms[f"{layer}/map"] = (error / self.variance[layer]).mean()
        for layer, index in LAYERS.items():
            for level in (1, 2):
                pooled = _pooled(student[index] - teacher[index], groups, level)
                within = (pooled - pooled.mean(1, keepdim=True)) @ self.whitening[layer, level, "within"]
                total = pooled @ self.whitening[layer, level, "total"]
                terms[f"{layer}/within{level}"] = within.square().sum(-1).mean()
                terms[f"{layer}/total{level}"] = total.square().sum(-1).mean()
        return terms

    @staticmethod
    def combine(terms: dict[str, Tensor], hint: float) -> Tensor:
        """The weighted mean of the terms' logarithms: gradients are relative, so no term drowns another.

        ``hint`` weighs the streams between the layers.
        """
        weights = {}
        for name in terms:
            layer = name.split("/")[0]
            weights[name] = hint if layer in HINTS else (2.0 if layer == "layer3" else 1.0) * (1 + name.endswith("map"))
        logs = torch.stack([weights[name] * term.log() for name, term in terms.items()])
        return logs.sum() / sum(weights.values())
