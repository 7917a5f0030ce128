"""A run's report with what the tracker and DVC know of its lineage."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.report.lineage import Lineage
from irp_core.report.page import render
from irp_core.run.directory import RunDirectory
from tasks.reports.thumbnails import image_file
from tasks.runtime.retries import IO_RETRIES
from tasks.versions.lineage import common_tags, training_tags

__all__ = ["render_page", "write_page"]


@task(task_run_name="page", cache_policy=NO_CACHE, **IO_RETRIES)
def write_page(run_path: str) -> str:
    """Write the page of a finished run; returns its path."""
    run = RunDirectory(Path(run_path))
    with run.timed("report"):
        return str(render_page(run))


def render_page(run: RunDirectory, comparison: pd.DataFrame | None = None) -> Path:
    """Write the report into the run's folder (`irp_core.report.page.render`); returns its path."""
    return render(run, run.report, _lineage(run), find=partial(image_file, run), comparison=comparison)


def _lineage(run: RunDirectory) -> Lineage:
    fingerprint = run.features()["fingerprint"]
    common = {
        **common_tags(run),
        **run.record().get("code", {}),
    }  # of the run, not of the machine that renders its page
    tracked = run.mlflow()
    return Lineage(
        origin={
            "manifest sha256": run.record()["manifest_sha256"],
            "parameters": common["irp.params_digest"],
            "features": fingerprint,
            "code": f"irp {common['irp.version']}, sha256 {common['irp.code_sha256']}",
            "git commit": common.get("mlflow.source.git.commit"),
            "MLflow run": tracked["run"] if tracked else None,
        },
        models=[training_tags(run, k, fingerprint) for k in range(run.summary()["iterations"] + 1)],
    )
