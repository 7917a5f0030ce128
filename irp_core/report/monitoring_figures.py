"""The figures of the monitoring page: scores over time, the share of alarms, what the images are like."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from irp_core.monitoring.health import MEASURES
from irp_core.monitoring.watched import Watched
from irp_core.plots import COLOURS

__all__ = ["alarm_shares", "health_over_time", "scores_over_time"]

_WIDTH = 5.2  # inches
_POINTS = 4000  # images that are drawn; of more, every second, third …


def scores_over_time(found: Watched) -> Figure:
    """Each image's score over the threshold in the order in which it came, the commissioning window before zero."""
    figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    step = max(1, (len(found.reference) + len(found.new)) // _POINTS)
    for table, start, colour in (
        (found.reference, -len(found.reference), COLOURS["grey"]),
        (found.new, 0, COLOURS["blue"]),
    ):
        heights = (table["score"] / table["threshold"]).to_numpy(float)
        places = np.arange(len(heights)) + start
        axes.plot(places[::step], heights[::step], ".", markersize=3, color=colour, alpha=0.6)
    axes.axhline(1.0, color=COLOURS["orange"], linewidth=1.3)
    axes.axvline(-0.5, color="#1d2733", linewidth=0.8, linestyle=":")
    for row in found.windows[found.windows["alarm"]].to_dict("records"):
        axes.axvspan((row["window"] - 1) * found.size, row["window"] * found.size, color=COLOURS["orange"], alpha=0.15)
    together = pd.concat([found.reference, found.new])
    if len(together) and (together["score"] / together["threshold"]).max() > 10:
        axes.set_yscale("log")
    axes.set_ylabel("score / threshold")
    axes.set_xlabel("images; before 0: the commissioning window")
    _tidy(axes)
    return figure


def alarm_shares(found: Watched) -> Figure:
    """The share of images above the threshold in each window, and in the commissioning window."""
    figure = Figure(figsize=(_WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    colours = [COLOURS["orange"] if alarm else COLOURS["blue"] for alarm in found.windows["alarm"]]
    axes.bar(found.windows["window"].to_numpy(int), found.windows["alarm_share"].to_numpy(float), color=colours)
    before = float((found.reference["decision"] == "anomalous").mean())
    axes.axhline(before, color=COLOURS["grey"], linestyle="--", linewidth=1.3)
    axes.set_ylim(0, max(0.05, 1.15 * max([before, *found.windows["alarm_share"].to_list()])))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel("alarms")
    axes.set_xlabel("window (dashed: commissioning)")
    _tidy(axes)
    return figure


def health_over_time(found: Watched) -> Figure:
    """The median of each measure in each window over its median in the commissioning window."""
    figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    numbers = [0, *found.windows["window"].to_list()]
    styles = dict(zip(MEASURES, ("-", "--", "-.", ":"), strict=False))
    colours = (COLOURS["blue"], COLOURS["orange"], COLOURS["green"], COLOURS["grey"])
    for (measure, style), colour in zip(styles.items(), colours, strict=True):
        before = float(found.reference[measure].median())
        if abs(before) < 0.01:  # a grey camera has no saturation
            continue
        medians = [before, *(float(found.rows(number)[measure].median()) for number in numbers[1:])]
        axes.plot(numbers, [value / before for value in medians], style, marker="o", color=colour, label=measure)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("of commissioning")
    axes.set_xlabel("window (0: commissioning)")
    axes.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    _tidy(axes)
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
