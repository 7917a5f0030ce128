"""The paper's figures 1, 3, 4 and 5, returned and never saved. Colours are Okabe and Ito's, lines also differ by
marker and dash, so that they can be told apart in grey and by the colour-blind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from irp_core.config import Figures
from irp_core.methods import METHODS, iterative
from irp_core.paper.reference import MVTEC, Reference
from irp_core.paper.statistics import entity_means

__all__ = ["BAD", "GOOD", "Thumbnail", "figure1", "figure3", "figure4", "figure5", "printed"]

_SCORED = tuple(name for name, method in METHODS.items() if name == "vanilla" or method.removes_by_score)
_BOUNDED = ("vanilla", *iterative(), "oracle")
_IN_PAPER = tuple(name for name, method in METHODS.items() if method.in_paper == name)
_LEAST_RANGE = 0.1  # of AUROC on an axis
GOOD, BAD = "#009e73", "#d55e00"


@dataclass(frozen=True)
class Thumbnail:
    """A removed image (H, W, 3) and whether it was injected."""

    pixels: NDArray[np.uint8]
    bad: bool


def figure1(runs: pd.DataFrame, settings: Figures) -> Figure:
    """AUROC against noise level, mean over entities, of vanilla and all that remove by score; band: ± sd over seeds.

    Example:
        >>> row = {"entity": "demo", "seed": 0, "method": "vanilla"}
        >>> runs = pd.DataFrame([row | {"level": level, "auroc": 0.9 - level / 1000} for level in (0, 20)])
        >>> [axes.get_xlabel() for axes in figure1(runs, Figures()).axes]
        ['defective images in the training set (%)']
    """
    methods = [name for name in _SCORED if name in set(runs["method"])]
    with printed(settings):
        figure = Figure(figsize=(0.72 * settings.width, 0.48 * settings.width), layout="constrained")
        axes = figure.subplots()
        _curves(axes, entity_means(runs), methods)
        names = ", ".join(dict.fromkeys(runs["entity"]))
        axes.set_title(f"Mean over {names}" if "," in names else names)
        axes.set_xlabel("defective images in the training set (%)")
        _dress(axes, runs, left=True)
        _legend(figure, methods)
    return figure


def figure3(runs: pd.DataFrame, reference: Reference, settings: Figures) -> Figure:
    """AUROC against noise level per data set, all methods; MVTec's categories are averaged, the paper's beside."""
    families = _families(list(dict.fromkeys(runs["entity"])))
    methods = [name for name in METHODS if name in set(runs["method"])]
    with printed(settings):
        figure, panels = _grid(len(families), settings)
        for place, (axes, (name, entities)) in enumerate(zip(panels, families.items(), strict=True)):
            _curves(axes, entity_means(runs, entities), methods, band=("irp", "vanilla"))
            paper = {
                method: {level: reference.mean_auroc(method, level) for level in _levels(runs)} for method in _IN_PAPER
            }
            if entities[0] == "ksdd2":
                paper = {"irp": {level: reference.auroc("ksdd2", level) for level in _levels(runs)}}
            elif entities[0] not in MVTEC:
                paper = {}
            for method, points in paper.items():
                _paper_curve(axes, points, METHODS[method].style.colour)
            axes.set_title(name)
            _dress(axes, runs, left=place % 3 == 0)
        _legend(figure, methods, paper=any(e in (*MVTEC, "ksdd2") for e in set(runs["entity"])))
    return figure


def figure4(runs: pd.DataFrame, summary: pd.DataFrame, reference: Reference, settings: Figures) -> Figure:
    """AUROC against noise level per entity: vanilla, iterative refinements and oracle; the paper's IRP where known."""
    entities = list(dict.fromkeys(runs["entity"]))
    methods = [m for m in _BOUNDED if m in set(runs["method"])]
    with printed(settings):
        figure, panels = _grid(len(entities), settings)
        for place, (axes, entity) in enumerate(zip(panels, entities, strict=True)):
            _curves(axes, summary[summary["entity"] == entity], methods)
            paper = {level: reference.auroc(entity, level) for level in _levels(runs)}
            _paper_curve(axes, paper, METHODS["irp"].style.colour)
            axes.set_title(entity)
            _dress(axes, runs, left=place % 3 == 0)
        known = any(reference.auroc(entity, level) is not None for entity in entities for level in _levels(runs))
        _legend(figure, methods, paper=known)
    return figure


def figure5(galleries: Mapping[tuple[str, int], Sequence[Thumbnail]], settings: Figures) -> Figure:
    """The first images that IRP removed, one row per entity and level: good ones outlined green, defective ones red.

    Args:
        galleries: thumbnails by (entity, noise level in percent), in the order of removal.
        settings: `gallery` is the number shown per row.
    """
    rows = list(galleries.items())
    with printed(settings):
        side = settings.width / (settings.gallery + 1.6)
        figure = Figure(figsize=(settings.width, side * 1.08 * max(1, len(rows)) + 0.35), layout="constrained")
        panels = figure.subplots(max(1, len(rows)), settings.gallery, squeeze=False)
        for (name, images), cells in zip(rows, panels, strict=False):
            cells[0].text(-0.15, 0.5, f"{name[0]}\n{name[1]} %", transform=cells[0].transAxes, ha="right", va="center")
            for place, axes in enumerate(cells):
                axes.set_xticks([])
                axes.set_yticks([])
                if place >= len(images):
                    axes.axis("off")
                    continue
                image = images[place]
                axes.imshow(image.pixels, aspect="equal")
                # A dash too: red and green alone are no difference to one man in twelve.
                axes.spines[:].set(color=BAD if image.bad else GOOD, linewidth=2.2, linestyle="-" if image.bad else ":")
            if not images:
                note = cells[0].text(0.05, 0.5, "nothing removed", transform=cells[0].transAxes, ha="left", va="center")
                note.set_in_layout(False)  # it may run over the empty places; the column must not grow with it
        handles = [
            Patch(facecolor="white", edgecolor=GOOD, linewidth=2, linestyle=":", label="good, removed by mistake"),
            Patch(facecolor="white", edgecolor=BAD, linewidth=2, label="defective, rightly removed"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def printed(settings: Figures) -> AbstractContextManager[None]:
    """Sizes of print, for as long as the context lasts."""
    return rc_context(
        {
            "font.size": settings.font_size,
            "axes.titlesize": settings.font_size,
            "axes.labelsize": settings.font_size,
            "legend.fontsize": settings.font_size,
            "xtick.labelsize": settings.font_size - 1,
            "ytick.labelsize": settings.font_size - 1,
            "lines.linewidth": 1.3,
            "lines.markersize": 4.0,
            "axes.linewidth": 0.7,
        }
    )


def _grid(count: int, settings: Figures) -> tuple[Figure, list[Axes]]:
    columns = min(3, count)
    rows = -(-count // columns)
    width = settings.width if columns > 1 else 0.72 * settings.width
    figure = Figure(figsize=(width, rows * 0.82 * width / max(columns, 1.5) + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for unused in panels[count:]:
        unused.axis("off")
    for lowest in panels[max(0, count - columns) : count]:
        lowest.set_xlabel("defective images (%)")  # of the training set; the long label does not fit three abreast
        lowest.tick_params(labelbottom=True)
    return figure, list(panels[:count])


def _curves(axes: Axes, table: pd.DataFrame, methods: Sequence[str], band: Sequence[str] | None = None) -> None:
    """Lines with a band of ± one standard deviation for the methods in `band` (None: all)."""
    for method in methods:
        rows = table[table["method"] == method].sort_values("level")
        if rows.empty:
            continue
        style = METHODS[method].style
        level, mean = rows["level"].to_numpy(), rows["auroc_mean"].to_numpy()
        axes.plot(level, mean, color=style.colour, marker=style.marker, linestyle=style.dash, markeredgewidth=0)
        spread = rows["auroc_sd"].to_numpy()
        if (band is None or method in band) and np.isfinite(spread).all():
            low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
            axes.fill_between(level, low, high, color=style.colour, alpha=0.15, linewidth=0)


def _paper_curve(axes: Axes, points: Mapping[int, float | None], colour: str) -> None:
    known = [(level, value) for level, value in points.items() if value is not None]
    if known:
        level, value = zip(*known, strict=True)
        axes.plot(level, value, color=colour, linestyle=(0, (1, 1.2)), linewidth=1.1)


def _dress(axes: Axes, runs: pd.DataFrame, *, left: bool) -> None:
    if left:
        axes.set_ylabel("AUROC (test set)")
    axes.set_xticks(_levels(runs))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    low, high = axes.get_ylim()
    if high - low < _LEAST_RANGE:  # no magnifying glass for noise
        middle = min((low + high) / 2, 1.005 - _LEAST_RANGE / 2)
        axes.set_ylim(middle - _LEAST_RANGE / 2, middle + _LEAST_RANGE / 2)


def _legend(figure: Figure, methods: Sequence[str], *, paper: bool = False) -> None:
    handles = []
    for method in methods:
        known, style = METHODS[method], METHODS[method].style
        line = Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dash, label=known.label)
        line.set_markeredgewidth(0)
        handles.append(line)
    if paper:
        handles.append(Line2D([], [], color="black", linestyle=(0, (1, 1.2)), linewidth=1.1, label="the paper's"))
    # About 1.6 inches hold the longest label.
    columns = max(2, int(figure.get_figwidth() / (0.19 * mpl.rcParams["legend.fontsize"])))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), frameon=False)


def _levels(runs: pd.DataFrame) -> list[int]:
    return sorted(int(level) for level in set(runs["level"]))


def _families(entities: Sequence[str]) -> dict[str, list[str]]:
    mvtec = [name for name in entities if name in MVTEC]
    families = {}
    if mvtec:
        families[f"MVTec AD ({', '.join(mvtec)})" if len(mvtec) < 3 else f"MVTec AD (mean of {len(mvtec)})"] = mvtec
    return families | {name: [name] for name in entities if name not in MVTEC}
