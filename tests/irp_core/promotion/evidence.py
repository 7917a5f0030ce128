"""Made evidence: two models of a binormal world, whose scores agree as far as one wants."""

from __future__ import annotations

import numpy as np
import pandas as pd

from irp_core.promotion import ModelEvidence

HISTORY = pd.DataFrame({"version": ["line3/1"], "share_removed": [0.02], "contamination": [0.05]})


def table(prefix: str, scores: np.ndarray, **columns: object) -> pd.DataFrame:
    names = [f"{prefix}{index:04d}" for index in range(len(scores))]
    return pd.DataFrame({"image_id": [f"{name}.png" for name in names], "md5": names, "score": scores, **columns})


def binormal(defects: int, good: int, auroc: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores, defective) with this AUROC in expectation."""
    from scipy import stats

    rng = np.random.default_rng(seed)
    truth = np.arange(defects + good) < defects
    return rng.standard_normal(defects + good) + truth * np.sqrt(2) * stats.norm.ppf(auroc), truth


def evidence(
    name: str = "line3/2",
    *,
    seed: int = 0,
    scores: np.ndarray | None = None,
    golden: pd.DataFrame | None = None,
    threshold: float = 1.645,
    **more: object,
) -> ModelEvidence:
    """A model that raises 5 % alarms on 400 good images, the last 100 of them new."""
    values = np.random.default_rng(seed).standard_normal(400) if scores is None else scores
    rows = table("line/", values, new=np.arange(len(values)) >= len(values) * 3 // 4)
    return ModelEvidence(
        name,
        threshold=threshold,
        false_alarm_rate=0.05,
        scores=rows,
        golden=golden,
        **{"history": HISTORY, "share_removed": 0.02, "contamination": 0.05, **more},  # type: ignore[arg-type]
    )


def golden_table(scores: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    return table("golden/", scores, label=np.where(truth, "defective", "good"))
