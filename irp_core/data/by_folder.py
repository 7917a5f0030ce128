"""How many files of each folder train, test, are left aside, quarantined or ignored."""

from __future__ import annotations

from pathlib import PurePosixPath

import pandas as pd

__all__ = ["COUNTS", "counts_by_folder"]

COUNTS = ("train", "test", "unused", "quarantined", "ignored")


def counts_by_folder(manifest: pd.DataFrame, quarantine: pd.DataFrame, ignored: pd.DataFrame) -> pd.DataFrame:
    """Columns `folder` (relative to the root, "" for it) and `COUNTS`, a row per folder, sorted.

    An image that trains and tests (`both`) counts in both columns; a folder that is not entered has a row of its own.

    Args:
        manifest, quarantine, ignored: of a scan, or of a prepared set.
    """
    splits = {"train": ("train", "both"), "test": ("test", "both"), "unused": ("unused", "unassigned")}
    parts = [_counts(manifest.loc[manifest["split"].isin(values), "image_id"], name) for name, values in splits.items()]
    parts.append(_counts(quarantine["image_id"], "quarantined"))
    parts.append(_counts(ignored["path"], "ignored", ignored["files"]))
    table = pd.concat(parts).reindex(columns=["folder", *COUNTS]).fillna(0)
    return table.groupby("folder", as_index=False).sum().astype(dict.fromkeys(COUNTS, int))


def _counts(paths: pd.Series, name: str, files: pd.Series | None = None) -> pd.DataFrame:
    folders = [path.rstrip("/") if path.endswith("/") else _folder(path) for path in paths]
    return pd.DataFrame({"folder": folders, name: 1 if files is None else files.to_numpy()}, dtype=object)


def _folder(path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    return "" if parent == "." else parent
