"""What `benchmarks.paper_settings` measured, said: the paper's own settings on a set that the paper has, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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


def paper_settings_reading(
    runs: pd.DataFrame, losses: pd.DataFrame, reference: Reference, paper_steps: int
) -> list[str]:
    """Sentences on the ways of running that have both readings of IRP, and one on how far each training went.

    Args:
        losses: `RUN`, `level`, `reading`, `iteration`, `epoch`, `loss`.
        paper_steps: epochs times views that the paper trains.
    """
    whole = [(_way(known), group) for known, group in runs.groupby(RUN, sort=False)]
    whole = [(way, group) for way, group in whole if {_IN, _OUT} <= set(group["reading"])]
    sentences = []
    if whole:
        sentences = [
            f"Against training once, IRP with the scores of the images that the flow trained on changes AUROC "
            f"{_each(whole, _IN, _gain)}.",
            f"Such scores find few of the defects: they remove {_each(whole, _IN, _counts)}.",
            f"With out-of-fold scores and all else equal, AUROC changes {_each(whole, _OUT, _gain)}, and they remove "
            f"{_each(whole, _OUT, _counts)}.",
        ]
        beside = [_beside_paper(way, group, reference) for way, group in whole]
        if any(beside):
            sentences.append(f"Beside the paper's IRP: {'; '.join(filter(None, beside))}.")
    progress = []
    for known, _ in runs.groupby(RUN, sort=False):
        own = losses[(losses[RUN] == pd.Series(dict(zip(RUN, known, strict=True)))).all(axis=1)]
        progress.append(f"{_way(known)}: {_loss(own, known, paper_steps)}")
    return [*sentences, f"How far the first training went: {'; '.join(progress)}."]


def _way(known: tuple[object, ...]) -> str:
    entity, hidden, standardize, *_ = known
    return f"{entity}, hidden {hidden}" + ("" if standardize else ", not standardised")


def _each(whole: list[tuple[str, pd.DataFrame]], reading: str, say: Callable[[pd.DataFrame, str], str]) -> str:
    return "; ".join(f"({way}) {say(group.sort_values('level'), reading)}" for way, group in whole)


def _gain(group: pd.DataFrame, reading: str) -> str:
    wide = group.pivot_table(index="level", columns="reading", values="auroc")
    gain = (100 * (wide[reading] - wide["vanilla"])).dropna()
    return "by " + ", ".join(f"{points:+.1f} points at {level} %" for level, points in gain.items())


def _counts(group: pd.DataFrame, reading: str) -> str:
    parts = []
    for row in group[group["reading"] == reading].to_dict("records"):
        bad = f"{row['removed_bad']} of {row['n_injected']} defects and " if row["n_injected"] else ""
        parts.append(f"{bad}{row['removed_good']} good images at {row['level']} %")
    return ", ".join(parts)


def _beside_paper(way: str, group: pd.DataFrame, reference: Reference) -> str:
    parts = []
    for level, rows in group.sort_values("level").groupby("level"):
        auroc = rows.set_index("reading")["auroc"]
        paper = reference.auroc(str(rows["entity"].iloc[0]), int(level))
        if paper is not None:
            parts.append(
                f"{auroc[_IN]:.3f} in sample and {auroc[_OUT]:.3f} out of fold against its {paper:.3f} at {level} %"
            )
    return f"({way}) {', '.join(parts)}" if parts else ""


def _loss(losses: pd.DataFrame, known: tuple[object, ...], paper_steps: int) -> str:
    epochs, views = int(str(known[-1])), int(str(known[-2]))
    first = losses[(losses["reading"] == "vanilla") & (losses["iteration"] == 0)].groupby("epoch")["loss"].mean()
    quarter = max(1, len(first) // 4)
    before = float(first.iloc[-1 - quarter]) if len(first) > quarter else float(first.iloc[0])
    share = round(100 * epochs * views / paper_steps)
    end = float(first.iloc[-1])
    fall = f"the loss from {first.iloc[0]:.2f} to {end:.2f}, {before - end:.2f} of that in the last quarter"
    return f"{share} % of the paper's steps, {fall}"


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
