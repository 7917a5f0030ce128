"""The tables as text: the cells of each, in Markdown and in LaTeX."""

from __future__ import annotations

import numpy as np
import pandas as pd

from irp_core.methods import METHODS
from irp_core.paper.comparisons import MEAN

__all__ = [
    "format_differences",
    "format_table1",
    "format_table2",
    "format_table3",
    "latex",
    "markdown",
]


def format_table3(summary: pd.DataFrame) -> pd.DataFrame:
    """Every measure as text, one row per entity, noise level and method: mean ± sd over the seeds that define it."""
    rows = []
    for row in summary.to_dict("records"):
        recovered = _spread(row["recovery_mean"], row["recovery_sd"])
        rows.append(
            {
                "entity": row["entity"],
                "noise": f"{row['level']} %",
                "method": METHODS[row["method"]].label,
                **{
                    name: _spread(row[f"{measure}_mean"], row[f"{measure}_sd"])
                    for name, measure in (
                        ("AUROC", "auroc"),
                        ("average precision", "average_precision"),
                        ("removal precision", "removal_precision"),
                        ("removal recall", "removal_recall"),
                    )
                },
                "recovery (seeds)": recovered if recovered == "–" else f"{recovered} ({row['recovery_n']})",
            }
        )
    return pd.DataFrame(rows)


def format_table1(table: pd.DataFrame) -> pd.DataFrame:
    """Table 1 as text: one row per entity and method (mean ± sd), then the paper's row and the difference."""
    levels = sorted(set(table["level"]))
    rows = []
    for entity, group in table.groupby("entity", sort=False):
        name = "mean of entities" if entity == MEAN else entity
        for method, cells in group.groupby("method", sort=False):
            by_level = cells.set_index("level")
            rows.append(
                [
                    name,
                    METHODS[method].label,
                    *(
                        _spread(by_level.loc[v, "mean"], by_level.loc[v, "sd"]) if v in by_level.index else "–"
                        for v in levels
                    ),
                ]
            )
            if by_level["paper"].notna().any():
                source = "paper, IRP" if entity != MEAN else "paper, mean of ten MVTec categories"
                rows.append([name, f"  {source}", *(_number(by_level["paper"].get(v)) for v in levels)])
                rows.append([name, "  difference", *(_signed(by_level["difference"].get(v)) for v in levels)])
    return pd.DataFrame(rows, columns=["entity", "method", *(f"{v} %" for v in levels)])


def format_table2(table: pd.DataFrame) -> pd.DataFrame:
    """Table 2 as text: good/bad, means over seeds, and the paper's beside them."""
    levels = sorted(set(table["level"]))
    rows = []
    for (entity, method), cells in table.groupby(["entity", "method"], sort=False):
        by_level = cells.set_index("level")
        rows.append([entity, METHODS[method].label, *(_pair(by_level, v, "good", "bad", 1) for v in levels)])
        if method == "irp" and by_level["paper_good"].notna().any():
            rows.append([entity, "  paper, IRP", *(_pair(by_level, v, "paper_good", "paper_bad", 0) for v in levels)])
    return pd.DataFrame(rows, columns=["entity", "method", *(f"{v} %" for v in levels)])


def format_differences(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """IRP minus every other method in AUROC points (hundredths): mean ± sd, and in how many pairs it is ahead."""
    chosen = table[table["method"] == method]
    levels = [v for v in sorted(set(chosen["level"])) if v != -1]
    rows = []
    for against, cells in chosen.groupby("against", sort=False):
        by_level = cells.set_index("level")
        texts = []
        for v in [*levels, -1]:
            row = by_level.loc[v]
            spread = "" if np.isnan(row["sd"]) else f" ± {100 * row['sd']:.1f}"
            texts.append(f"{100 * row['mean']:+.1f}{spread} ({row['positive']:.0f}/{row['n']:.0f})")
        rows.append([f"minus {METHODS[against].label}", *texts])
    return pd.DataFrame(rows, columns=[METHODS[method].label, *(f"{v} %" for v in levels), "all levels"])


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table; numbers right-aligned, repeated row headers blanked.

    Example:
        >>> table = pd.DataFrame({"entity": ["demo", "demo"], "method": ["vanilla", "IRP"], "20 %": [".85", ".93"]})
        >>> print(markdown(table).strip())
        | entity   | method   |   20 % |
        |:---------|:---------|-------:|
        | demo     | vanilla  |    .85 |
        |          | IRP      |    .93 |
    """
    shown = _without_repeats(table)
    alignment = ["left" if i < _headers(table) else "right" for i in range(len(table.columns))]
    return str(shown.to_markdown(index=False, disable_numparse=True, colalign=alignment)) + "\n"


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A LaTeX table (booktabs)."""
    shown = _without_repeats(table)
    headers = _headers(table)
    escaped = shown.map(lambda text: _escape(text)).set_axis([_escape(name) for name in shown.columns], axis=1)
    return str(
        escaped.style.hide(axis="index").to_latex(
            column_format="l" * headers + "r" * (len(shown.columns) - headers),
            hrules=True,
            caption=_escape(caption),
            label=label,
            position="tbp",
            position_float="centering",
        )
    )


def _headers(table: pd.DataFrame) -> int:
    return sum(name in ("entity", "noise", "method") or i == 0 for i, name in enumerate(table.columns))


def _without_repeats(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.copy()
    if "entity" in shown:
        shown["entity"] = shown["entity"].where(shown["entity"] != shown["entity"].shift(), "")
    return shown


def _escape(text: str) -> str:
    for old, new in (
        ("&", r"\&"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("±", r"$\pm$"),
        ("−", r"$-$"),
        ("–", "--"),
        ("λ", r"$\lambda$"),
    ):
        text = text.replace(old, new)
    return text


def _number(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"


def _spread(mean: float, sd: float) -> str:
    return _number(mean) if np.isnan(sd) else f"{_number(mean)} ± {sd:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:+.3f}"


def _pair(table: pd.DataFrame, level: int, good: str, bad: str, digits: int) -> str:
    if level not in table.index or np.isnan(table.loc[level, good]):
        return "–"
    return f"{table.loc[level, good]:.{digits}f}/{table.loc[level, bad]:.{digits}f}"
