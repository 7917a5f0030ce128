"""Points of metrics for MLflow, each logged once however often a command is repeated."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

__all__ = ["curves_of", "new_points", "points_of"]


def points_of(row: Mapping[str, Any], step: int) -> list[Metric]:
    """The finite numbers of a row, by their names; not `iteration`."""
    return [
        Metric(name, float(value), _now(), step)
        for name, value in row.items()
        if name != "iteration" and isinstance(value, (int, float)) and value == value
    ]


def curves_of(history: pd.DataFrame) -> list[Metric]:
    """Loss, learning rate and seconds by epoch."""
    return [
        Metric(name, float(row[column]), _now(), int(row["epoch"]))
        for row in history.to_dict("records")
        for name, column in (("loss", "loss"), ("learning_rate", "learning_rate"), ("epoch_seconds", "seconds"))
    ]


def new_points(client: MlflowClient, mlflow_run: str, points: Sequence[Metric]) -> list[Metric]:
    """Those of `points` that the run does not have yet: MLflow appends whatever it is given."""
    known: set[tuple[str, int, float]] = set()
    for name in sorted({point.key for point in points} & set(client.get_run(mlflow_run).data.metrics)):
        known |= {(name, point.step, point.value) for point in client.get_metric_history(mlflow_run, name)}
    return [point for point in points if (point.key, point.step, point.value) not in known]


def _now() -> int:
    return int(time.time() * 1000)
