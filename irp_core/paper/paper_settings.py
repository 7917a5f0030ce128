"""What `benchmarks.paper_settings` measured, said: the paper's own settings on a set that the paper has, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from irp_core.paper.reference import Reference

__all__ = ["RUN", "paper_rows", "paper_settings_reading", "paper_settings_table", "paper_settings_times"]

RUN = ["entity", "hidden", "standardize", "precision", "views", "epochs"]
"""The columns that tell one way of running the paper's settings from another."""
_IN, _OUT = "IRP, in-sample scores", "IRP, out-of-fold scores"


def paper_settings_table(runs: pd.DataFrame, reference: Reference) -> pd.DataFrame:
    """A row per way of running and noise level; a cell holds AUROC and, in brackets, good and bad images removed.

    Args:
        runs: `RUN`, `level`, `reading`, `auroc`, `removed_good`, `removed_bad`, `n_injected`; one row each.
    """
    rows = []
    readings = list(dict.fromkeys(runs["reading"]))
    for known, group in runs.groupby([*RUN, "level"], sort=False):
        entity, hidden, standardize, precision, views, epochs, level = known
        row: dict[str, str] = {
            "data set": str(entity),
            "hidden": f"{hidden}",
            "epochs x views": f"{epochs} x {views}",
            "standardised": "yes" if standardize else "no",
            "products": str(precision),
            "defective": f"{level} % ({group['n_injected'].iloc[0]} of {group['n_start'].iloc[0]})",
        }
        cells = group.set_index("reading")
        for reading in readings:
            if reading not in cells.index:
                row[reading] = "–"
                continue
            one = cells.loc[reading]
            gone = "" if reading == "vanilla" else f" ({one['removed_good']}/{one['removed_bad']})"
            row[reading] = f"{one['auroc']:.3f}{gone}"
        row["paper, IRP"] = _paper_cell(reference, str(entity), int(level))
        rows.append(row)
    return pd.DataFrame(rows)


def paper_settings_reading(runs: pd.DataFrame, losses: pd.DataFrame, paper_steps: int) -> list[str]:
    """A few sentences for each way of running that has both readings of IRP, one on the loss for each of the others.

    Args:
        losses: `RUN`, `level`, `reading`, `iteration`, `epoch`, `loss`.
        paper_steps: epochs times views that the paper trains.
    """
    sentences = []
    for known, group in runs.groupby(RUN, sort=False):
        entity, hidden, standardize, precision, views, epochs = known
        length = f"{epochs} epochs of {views} views"
        name = f"**{entity}, hidden {hidden}, {length}" + ("" if standardize else ", not standardised") + "**"
        own = losses[(losses[RUN] == pd.Series(dict(zip(RUN, known, strict=True)))).all(axis=1)]
        if {_IN, _OUT} <= set(group["reading"]):
            sentences.append(f"{name}: {_compared(group)}")
            sentences.append(f"{name}: {_removals(group)}")
        sentences.append(f"{name} ({precision}): {_loss(own, int(epochs), int(epochs * views / paper_steps * 100))}")
    return sentences


def _compared(group: pd.DataFrame) -> str:
    wide = group.pivot_table(index="level", columns="reading", values="auroc")
    parts = []
    for reading, said in ((_IN, "scores in sample"), (_OUT, "scores out of fold")):
        gain = 100 * (wide[reading] - wide["vanilla"])
        each = ", ".join(f"{points:+.1f} points at {level} %" for level, points in gain.items())
        parts.append(f"with {said} the refinement changes AUROC by {each}")
    text = "; ".join(parts)
    if "oracle" in wide:
        best = (100 * (wide["oracle"] - wide["vanilla"])).dropna()
        text += "; without its defects " + ", ".join(
            f"{points:+.1f} points at {level} %" for level, points in best.items()
        )
    return f"against training once, {text}."


def _removals(group: pd.DataFrame) -> str:
    dirty = group[group["n_injected"] > 0]
    parts = []
    for reading, said in ((_IN, "in-sample"), (_OUT, "out-of-fold")):
        own = dirty[dirty["reading"] == reading]
        bad, good, there = own["removed_bad"].sum(), own["removed_good"].sum(), own["n_injected"].sum()
        parts.append(f"{said} scores remove {bad} of {there} injected defects and {good} good images")
    clean = group[(group["n_injected"] == 0) & group["reading"].isin([_IN, _OUT])].set_index("reading")
    text = "one round at the λ of the sweep: " + ", ".join(parts)
    if {_IN, _OUT} <= set(clean.index):
        text += (
            f"; where nothing is wrong they remove {clean.loc[_IN, 'removed_good']} and "
            f"{clean.loc[_OUT, 'removed_good']} good images"
        )
    return text + "."


def _loss(losses: pd.DataFrame, epochs: int, share: int) -> str:
    first = losses[(losses["reading"] == "vanilla") & (losses["iteration"] == 0)].groupby("epoch")["loss"].mean()
    start, end = float(first.iloc[0]), float(first.iloc[-1])
    quarter = max(1, epochs // 4)
    before = float(first.iloc[-1 - quarter]) if len(first) > quarter else start
    text = f"the loss goes from {start:.2f} to {end:.2f}, and by {before - end:.2f} in the last {quarter} epochs"
    if share < 100:
        text += f"; this is {share} % of the paper's training"
    return text + "."


def paper_settings_times(times: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """Seconds by stage of one training (`vanilla`), a row per way of running; per epoch the median of its epochs.

    Args:
        times: `RUN`, `level`, `reading`, `stage`, `seconds`, `peak_gb`.
    """
    first = losses[(losses["reading"] == "vanilla") & (losses["iteration"] == 0)]
    rows = []
    for known, group in times[times["reading"] == "vanilla"].groupby(RUN, sort=False):
        entity, hidden, _, precision, views, epochs = known
        stages = group.groupby("stage")["seconds"].median()
        own = first[(first[RUN] == pd.Series(dict(zip(RUN, known, strict=True)))).all(axis=1)]
        rows.append(
            {
                "data set": entity,
                "hidden": hidden,
                "products": precision,
                "epochs x views": f"{epochs} x {views}",
                "an epoch (s)": f"{own['seconds'].median():.2f}",
                "training (s)": f"{own.groupby('level')['seconds'].sum().median():.0f}",
                "scoring (s)": f"{stages.get('score', float('nan')):.1f}",
                "test (s)": f"{stages.get('evaluate', float('nan')):.1f}",
                "peak memory (GB)": f"{group['peak_gb'].min():.1f}",
            }
        )
    return pd.DataFrame(rows)


def paper_rows(reference: Reference, entities: Iterable[str], levels: Sequence[int]) -> pd.DataFrame:
    """What the paper's Tables 1 and 2 say of IRP on these sets: AUROC and, in brackets, good/bad images removed."""
    return pd.DataFrame(
        [{"paper, IRP": entity, **{f"{v} %": _paper_cell(reference, entity, v) for v in levels}} for entity in entities]
    )


def _paper_cell(reference: Reference, entity: str, level: int) -> str:
    auroc, removed = reference.auroc(entity, level), reference.removed(entity, level)
    gone = "" if removed is None else f" ({removed[0]}/{removed[1]})"
    return "–" if auroc is None else f"{auroc:.3f}{gone}"
