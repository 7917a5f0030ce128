"""Figures, returned and never saved. Colours are Okabe and Ito's, told apart by the colour-blind too."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.scale import SymmetricalLogScale
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from irp_core.audit.whatif import removal_curve
from irp_core.methods import METHODS

__all__ = ["COLOURS", "iteration_curves", "score_histograms", "what_if_curves"]

_HISTOGRAMS = 12
_FAR = 10  # times what the axis shows linearly: scores beyond it make the axis logarithmic there
_WIDTH = 4.2  # inches: in a page of 400 pixels the letters of 9 points are still read
COLOURS = {"blue": "#0072b2", "orange": "#d55e00", "green": "#009e73", "grey": "#777777"}


def iteration_curves(iterations: pd.DataFrame, references: Mapping[str, float] | None = None) -> Figure:
    """AUROC (where known) and size of the training set against the iteration.

    Args:
        iterations: columns `iteration, n_train, auroc`.
        references: AUROC of other methods by their names in `METHODS`, drawn as horizontal lines.

    Example:
        >>> iterations = pd.DataFrame({"iteration": [0, 1], "n_train": [30, 25], "auroc": [0.81, 0.93]})
        >>> figure = iteration_curves(iterations, {"vanilla": 0.81})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['AUROC (test set)', 'training images']
    """
    labelled = iterations["auroc"].notna().any()
    figure = Figure(figsize=(_WIDTH, 2.6 if not labelled else 4.4), layout="constrained")
    axes = figure.subplots(2 if labelled else 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = iterations["iteration"].to_numpy()
    if labelled:
        top = axes[0]
        top.plot(steps, iterations["auroc"], "o-", color=COLOURS["blue"], label="this run")
        for (name, value), dash in zip((references or {}).items(), cycle(("--", ":", "-.")), strict=False):
            colour = METHODS[name].style.colour
            top.axhline(value, color=colour, linestyle=dash, linewidth=1.3, label=f"{name} {value:.3f}")
        top.set_ylabel("AUROC (test set)")
        if references:
            top.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        _tidy(top)
    bottom = axes[-1]
    bottom.bar(steps, iterations["n_train"], color=COLOURS["blue"], alpha=0.35, width=0.6)
    bottom.set_ylabel("training images")
    bottom.set_xlabel("iteration (0 = before any removal)")
    # One iteration alone: a locator would find ticks between whole numbers.
    bottom.set_xlim(steps.min() - 0.6, steps.max() + 0.6)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    bottom.yaxis.set_major_locator(MaxNLocator(integer=True))
    _tidy(bottom)
    return figure


def score_histograms(scores: pd.DataFrame, thresholds: Mapping[int, float]) -> Figure:
    """Histograms of the training images' scores per iteration, with the threshold each was held against.

    All panels share their axis, so that one sees the tail go. Of many iterations, at most `_HISTOGRAMS` are shown, the
    first and the last among them.

    Args:
        scores: columns `iteration, score`.
        thresholds: iteration → the threshold applied to that iteration's scores.
    """
    present = np.sort(scores["iteration"].unique())
    shown = present[np.unique(np.linspace(0, len(present) - 1, min(len(present), _HISTOGRAMS)).round().astype(int))]
    figure = Figure(figsize=(_WIDTH, 0.9 + 1.0 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    reach = max((thresholds[iteration] for iteration in shown.tolist() if iteration in thresholds), default=0.0)
    edges, scale = _bins(scores.loc[scores["iteration"].isin(shown), "score"].to_numpy(), reach)
    for axes, iteration in zip(panels, shown.tolist(), strict=True):
        axes.hist(scores.loc[scores["iteration"] == iteration, "score"], bins=edges, color=COLOURS["blue"], alpha=0.6)
        # A handful of images in the tail is what the rule is about: a linear axis would hide it.
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks([0, 1, 10, 100], labels=["0", "1", "10", "100"])
        if scale is not None:
            axes.set_xscale(scale)
            axes.set_xlim(edges[0], edges[-1])
            decades = 10.0 ** np.arange(np.ceil(np.log10(scale.linthresh)), np.log10(edges[-1]))
            axes.set_xticks([0.0, *decades], labels=["0", *(f"{value:g}" for value in decades)])
        axes.minorticks_off()
        if iteration in thresholds:
            axes.axvline(thresholds[iteration], color=COLOURS["orange"], linewidth=1.5)
            right = thresholds[iteration] > edges[len(edges) // 2]  # then its name stands on the left
            axes.annotate(
                f"threshold {thresholds[iteration]:.3f}",
                (thresholds[iteration], 0.9),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if right else 4, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                fontsize=9,
                color=COLOURS["orange"],
                va="top",
            )
        axes.set_ylabel(f"it. {iteration}", fontsize=9)
        _tidy(axes)
    panels[-1].set_xlabel("anomaly score (vertical: number of images)")
    return figure


def _bins(scores: NDArray[np.float64], reach: float) -> tuple[NDArray[np.float64], SymmetricalLogScale | None]:
    """50 bins and the axis' scale: logarithmic beyond the threshold `reach`, where a few scores lie far above it, and
    beyond the bulk of the scores, where the threshold itself does (nothing was removed, and one image stands far out).

    On a linear axis these would press all others, and the threshold, into one bin.
    """
    linear = min(reach, 2 * float(np.median(scores)))
    if linear <= 0 or max(scores.max(), reach) <= _FAR * linear:
        return np.histogram_bin_edges(scores, bins=50), None
    scale = SymmetricalLogScale(None, linthresh=linear)
    to_axis = scale.get_transform()
    top = max(scores.max(), 1.1 * reach)  # the threshold's line is inside
    low, high = to_axis.transform(np.array([scores.min(), top]))
    edges = to_axis.inverted().transform(np.linspace(low, high, 51))
    edges[[0, -1]] = scores.min(), top  # rounding must not leave one outside
    return edges, scale


def what_if_curves(
    scores: pd.DataFrame,
    limits: Mapping[int, float],
    applied: Mapping[int, float],
    injected: Mapping[str, bool] | None = None,
) -> Figure:
    """What every possible threshold would remove of the first and the last model's training set.

    Against the threshold: the share of images above it and, where the truth is known, precision and recall of their
    removal; vertical lines mark the applied threshold and the other one.

    Args:
        scores: columns `image_id, iteration, score`.
        limits: iteration → the other threshold.
        applied: iteration → the threshold that was applied.
        injected: `image_id` → whether it was injected, where known.
    """
    shown = sorted({int(scores["iteration"].min()), int(scores["iteration"].max())})
    figure = Figure(figsize=(6.8, 1.0 + 2.3 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, iteration in zip(panels, shown, strict=True):
        group = scores[scores["iteration"] == iteration]
        values = group["score"].to_numpy()
        ranked = np.sort(values)
        share = 1 - np.arange(1, len(ranked) + 1) / len(ranked)
        axes.step(ranked, share, where="post", color=COLOURS["grey"], label="share removed")
        truth = group["image_id"].map(dict(injected or {})).to_numpy(dtype=bool) if injected is not None else None
        if truth is not None and truth.any():
            curve = removal_curve(values, truth)
            for name, colour in (("precision", "blue"), ("recall", "green")):
                axes.step(curve["lowest_removed"], curve[name], where="pre", color=COLOURS[colour], label=name)
        axes.axvline(applied[iteration], color=COLOURS["orange"], linewidth=1.5, label="threshold applied")
        axes.axvline(limits[iteration], color=COLOURS["orange"], linewidth=1.5, linestyle="--", label="what if")
        axes.set_ylim(0, 1.02)
        axes.set_title(f"scores of iteration {iteration}, {len(values)} images", fontsize=9, loc="left")
        _tidy(axes)
    panels[0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[-1].set_xlabel("threshold (images above it are removed)")
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
