"""What `benchmarks.paper_settings` measured, said: the paper's own settings on a set that the paper has, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from irp_core.paper.reference import Reference

__all__ = ["RUN", "paper_rows", "paper_settings_reading", "paper_settings_table", "paper_settings_times"]

RUN = ["entity", "hidden", "standardize", "precision", "views", "epochs"]
"""The columns that tell one way of running the paper's settings from another."""
_IN, _EARLY, _OUT = "IRP, in-sample scores", "IRP, early scores", "IRP, out-of-fold scores"


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
    """A sentence for each reading of IRP, one beside the paper's figures, and one on how far each training went.

    Args:
        losses: `RUN`, `level`, `reading`, `iteration`, `epoch`, `loss`.
        paper_steps: epochs times views that the paper trains.
    """
    ways = [(_way(known), group) for known, group in runs.groupby(RUN, sort=False)]
    said = {
        _IN: "Scored at the end of the training by the flow that trained on the images, as Algorithm 1 reads, IRP",
        _EARLY: "Scored by it after a tenth of the epochs, with the other epochs after the removal, IRP",
        _OUT: "Scored out of fold, IRP",
    }
    sentences = []
    for reading, name in said.items():
        own = [(way, group) for way, group in ways if reading in set(group["reading"])]
        if own:
            each = "; ".join(f"{_compared(group, reading)} on {way}" for way, group in own)
            sentences.append(f"{name} changes the AUROC of training once, in points, by {each}.")
    beside = [f"{way}, {_beside_paper(group, reference)}" for way, group in ways if _IN in set(group["reading"])]
    if beside:
        sentences.append(f"AUROC beside that of the paper's IRP: {'; '.join(beside)}.")
    progress = []
    for known, _ in runs.groupby(RUN, sort=False):
        own = losses[(losses[RUN] == pd.Series(dict(zip(RUN, known, strict=True)))).all(axis=1)]
        progress.append(f"{_way(known)}: {_loss(own, known, paper_steps)}")
    return [*sentences, f"How far the first training went: {'; '.join(progress)}."]


def _way(known: tuple[object, ...]) -> str:
    entity, hidden, standardize, *_ = known
    return f"{entity}, hidden {hidden}" + ("" if standardize else ", not standardised")


def _compared(group: pd.DataFrame, reading: str) -> str:
    auroc = group.set_index(["level", "reading"])["auroc"]
    parts = []
    for row in group[group["reading"] == reading].sort_values("level").to_dict("records"):
        level = row["level"]
        bad = f"{row['removed_bad']} of {row['n_injected']} defects, " if row["n_injected"] else ""
        gain = 100 * (row["auroc"] - auroc[level, "vanilla"])
        parts.append(f"{gain:+.1f} at {level} % (removed: {bad}{row['removed_good']} good)")
    return ", ".join(parts)


def _beside_paper(group: pd.DataFrame, reference: Reference) -> str:
    auroc = group.set_index(["level", "reading"])["auroc"]
    parts = []
    for level in sorted(set(group["level"])):
        paper = reference.auroc(str(group["entity"].iloc[0]), int(level))
        kinds = {"in sample": _IN, "early": _EARLY, "out of fold": _OUT}
        ours = [f"{auroc[level, name]:.3f} {said}" for said, name in kinds.items() if (level, name) in auroc.index]
        parts.append(f"{', '.join(ours)} (paper {'–' if paper is None else f'{paper:.3f}'}) at {level} %")
    return "; ".join(parts)


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
