"""What is known of a line on this machine, for /metrics: its inbox, its last round, the last look for drift."""

from __future__ import annotations

from pathlib import Path

from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.line.rounds import last_with, rounds_of
from irp_core.monitoring.now import read_now

__all__ = ["LINE_FIGURES", "line_figures", "line_of"]

LINE_FIGURES = {
    "irp_inbox_last_image_timestamp_seconds": "When the line took in its last image",
    "irp_line_last_round_timestamp_seconds": "When the line's last round of retraining ended",
    "irp_drift_alarm": "1 where the last window of new images alarmed, else 0",
    "irp_drift_ks": "Kolmogorov-Smirnov distance of the last window's scores from the commissioning window's",
    "irp_drift_alarm_share": "Share of the last window's images above the threshold",
    "irp_drift_windows": "Windows that were tested since the detector came into service",
    "irp_drift_checked_timestamp_seconds": "When `irp monitor LINE` last looked",
}
"""Metric → what it says."""


def line_of(reference: str) -> str | None:
    """The line that a registered model belongs to, where this folder is its project's; else None."""
    name = reference.partition("@")[0].partition("/")[0]
    return name if name and Path("params", "lines", f"{name}.yaml").is_file() else None


def line_figures(line: str) -> dict[str, float]:
    """Those of `LINE_FIGURES` that are known; a scrape never fails for what is not."""
    folder = LineFolder(line)
    found: dict[str, float | None] = {}
    try:
        if folder.ledger.exists():
            found["irp_inbox_last_image_timestamp_seconds"] = Ledger(folder.ledger).last_taken()
        if (last := last_with(rounds_of(folder), "ended")) is not None:
            found["irp_line_last_round_timestamp_seconds"] = last.record()["ended"]
        if (now := read_now(folder.monitoring)) is not None:
            found["irp_drift_checked_timestamp_seconds"] = now.at
            found["irp_drift_windows"] = float(now.windows)
            if now.windows:
                found["irp_drift_alarm"] = float(now.alarm)
                found["irp_drift_ks"], found["irp_drift_alarm_share"] = now.ks, now.alarm_share
    except (InputError, OSError):  # being written, or damaged: `irp line status` says what
        pass
    return {name: value for name, value in found.items() if value is not None}
