"""Figures of the studies: λ by width and kind of score, the flow's memory over the epochs. None is saved here."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from irp_core.config import Figures
from irp_core.paper.figures import BAD, GOOD, printed

__all__ = ["figure6", "figure7", "figure8"]

_LINES = {
    "in_sample": ("#0072b2", "o", "in sample"),
    "in_sample_early": ("#56b4e9", "^", "in sample, early"),
    "out_of_fold": ("#d55e00", "s", "out of fold"),
}
_DASHES = ("-", "--", ":", "-.")
_MEASURES = {"auroc": "AUROC (test set)", "precision": "removal precision", "recall": "removal recall"}


def figure6(studies: pd.DataFrame, settings: Figures) -> Figure:
    """AUROC, precision and recall of one removal against λ; a row of panels per entity.

    Args:
        studies: of `lambda_rows`, with `entity`.
    """
    entities, widths = list(dict.fromkeys(studies["entity"])), sorted(set(studies["width"]))
    with printed(settings):
        figure = Figure(figsize=(settings.width, 0.36 * settings.width * len(entities) + 0.6), layout="constrained")
        panels = figure.subplots(len(entities), len(_MEASURES), squeeze=False, sharex=True)
        for entity, row in zip(entities, panels, strict=True):
            own = studies[studies["entity"] == entity]
            for axes, (measure, label) in zip(row, _MEASURES.items(), strict=True):
                for place, width in enumerate(widths):
                    of_width = own[own["width"] == width]
                    if of_width.empty:  # not every set was studied at every width
                        continue
                    for name, (colour, marker, said) in _LINES.items():
                        line = of_width[of_width["scores"] == name].sort_values("lambda")
                        axes.plot(
                            line["lambda"], line[measure], color=colour, marker=marker, markeredgewidth=0,
                            linestyle=_DASHES[place % len(_DASHES)], label=f"{said}, hidden {width}",
                        )  # fmt: skip
                    if measure == "auroc":
                        for bound, dash in (("vanilla", (0, (1, 1.2))), ("oracle", (0, (4, 1.5)))):
                            at = float(of_width.loc[of_width["scores"] == bound, "auroc"].iloc[0])
                            shade = 0.7 * place / len(widths)  # 0 is black, 1 white
                            axes.axhline(at, color=str(shade), linewidth=0.9, linestyle=dash,
                                         label=f"{bound}, hidden {width}")  # fmt: skip
                axes.set_ylabel(label)
                axes.spines[["top", "right"]].set_visible(False)
                axes.grid(axis="y", alpha=0.25, linewidth=0.6)
                if measure != "auroc":
                    axes.set_ylim(-0.03, 1.03)
            row[1].set_title(entity)
        for axes in panels[-1]:
            axes.set_xlabel("λ")
        named = {
            label: handle
            for axes in panels[:, 0]
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=3, frameon=False)
    return figure


def figure7(studies: pd.DataFrame, settings: Figures) -> Figure:
    """Scores of the images that the flow trains on, epoch by epoch, and how well they rank the injected defects.

    Args:
        studies: of `memory_of`, with `entity`.
    """
    groups = list(studies.groupby(["entity", "width"], sort=False))
    with printed(settings):
        figure = Figure(figsize=(settings.width, 0.36 * settings.width * len(groups) + 0.5), layout="constrained")
        panels = figure.subplots(len(groups), 2, squeeze=False)
        for ((entity, width), rows), (spread, ranks) in zip(groups, panels, strict=True):
            for name, colour, said in (("good", GOOD, "good"), ("bad", BAD, "defective")):
                spread.plot(rows["epoch"], rows[f"{name}_50"], color=colour, label=f"{said}, median",
                            linestyle="-" if name == "bad" else "--")  # fmt: skip
                spread.fill_between(
                    rows["epoch"], rows[f"{name}_05"], rows[f"{name}_95"], color=colour, alpha=0.2, linewidth=0,
                    hatch="///" if name == "bad" else None, label=f"{said}, 5 to 95 %",
                )  # fmt: skip
            spread.set_ylabel("score / median")
            spread.set_title(f"{entity}, hidden {width}")
            ranks.plot(rows["epoch"], rows["ranking"], color="black", label="AUROC of its scores in training")
            ranks.plot(rows["epoch"], rows["test_auroc"], color="#0072b2", linestyle="--", label="AUROC, test set")
            ranks.plot(rows["epoch"], rows["recall"], color=BAD, linestyle=":", label="recall of the rule, asked then")
            ranks.set_ylim(-0.03, 1.03)
            for axes in (spread, ranks):
                axes.spines[["top", "right"]].set_visible(False)
                axes.grid(axis="y", alpha=0.25, linewidth=0.6)
                axes.locator_params(axis="x", integer=True)
        for axes in panels[-1]:
            axes.set_xlabel("epoch")
        handles = [entry for axes in panels[0] for entry in np.transpose(axes.get_legend_handles_labels()).tolist()]
        figure.legend(
            *np.transpose(np.array(handles, dtype=object)), loc="outside lower center", ncols=3, frameon=False
        )
    return figure


def figure8(histograms: pd.DataFrame, lambda_: float, settings: Figures) -> Figure:
    """How many training images have which score, after a few of the epochs; a row of panels per entity and width.

    Args:
        histograms: of `memory_of`, with `entity`.
        lambda_: where the paper's rule puts its threshold.
    """
    groups = list(histograms.groupby(["entity", "width"], sort=False))
    columns = max(own["epoch"].nunique() for _, own in groups)
    with printed(settings):
        figure = Figure(figsize=(settings.width, 0.2 * settings.width * len(groups) + 0.6), layout="constrained")
        panels = figure.subplots(len(groups), columns, squeeze=False, sharex=True)
        for ((entity, width), own), row in zip(groups, panels, strict=True):
            for axes, (epoch, bins) in zip(row, own.groupby("epoch"), strict=False):
                edges = [*bins["low"], bins["high"].iloc[-1]]
                for name, colour, said in (("good", GOOD, "good"), ("bad", BAD, "defective")):
                    share = bins[name] / max(1, bins[name].sum())
                    axes.stairs(share, edges, color=colour, fill=name == "good", alpha=0.35 if name == "good" else 1.0,
                                hatch=None, linewidth=1.1, label=said)  # fmt: skip
                axes.axvline(lambda_, color="black", linewidth=0.9, linestyle="--", label=f"λ = {lambda_:g}")
                axes.set_title(f"epoch {epoch}")
                axes.set_yticks([])
                axes.spines[["top", "right", "left"]].set_visible(False)
            row[0].set_ylabel(f"{entity}, {width}")
            for axes in row[own["epoch"].nunique() :]:
                axes.set_axis_off()
        for axes in panels[-1]:
            axes.set_xlabel("score / median")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
