"""One self-contained HTML page per run: it works offline and loads nothing from elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure
from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.atomic import atomic_path
from irp_core.methods import METHODS
from irp_core.plots import iteration_curves, score_histograms
from irp_core.refinement.reviews import approval
from irp_core.removals import GONE
from irp_core.results.left_out import left_out
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from tasks.reports.thumbnails import thumbnail_uri
from tasks.runtime.retries import IO_RETRIES
from tasks.versions.lineage import common_tags, training_tags

__all__ = ["render_page", "write_page"]

_SINGLES = 8  # images
_GALLERY = 240  # images; about 8 KB each keeps the page under 5 MB


@task(task_run_name="page", cache_policy=NO_CACHE, **IO_RETRIES)
def write_page(run_path: str) -> str:
    """Write the page of a finished run; returns its path."""
    run = RunDirectory(Path(run_path))
    with run.timed("report"):
        return str(render_page(run))


def render_page(run: RunDirectory, comparison: pd.DataFrame | None = None) -> Path:
    """Render the page: summary, curves, histograms, gallery of removed images, settings, lineage.

    Args:
        run: a finished run.
        comparison: one row per method, shown as a table and as lines in the curve.
    """
    iterations, removals, scores = run.iterations(), run.removals(), run.all_scores()
    summary, record = run.summary(), run.record()
    thresholds = {int(r.iteration) - 1: float(r.threshold) for r in iterations.itertuples() if r.iteration > 0}
    thresholds[summary["iterations"]] = summary["last_round"]["threshold"]
    references = {}
    if comparison is not None:
        known = comparison[
            (comparison["method"] != record["params"]["refinement"]["method"]) & comparison["auroc"].notna()
        ]
        references = dict(zip(known["method"], known["auroc"], strict=True))
    # One card per image: what a reviewer keeps has a row of every round.
    ordered = removals.sort_values(["iteration", "score"], ascending=[True, False]).drop_duplicates(
        "image_id", keep="last"
    )
    shown = ordered.head(_GALLERY).astype(object).where(ordered.head(_GALLERY).notna(), None)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda v: "–" if v is None or pd.isna(v) else f"{v:.3f}"
    environment.filters["percent"] = lambda v: "–" if v is None or pd.isna(v) else f"{100 * v:.0f} %"
    page = environment.get_template("report.html").render(
        run_id=run.run_id,
        record=record,
        summary={"contamination": None, "operating": None, "outcome": None, **summary},  # of an older run
        questions=_questions(run, summary.get("outcome") or {}),
        iterations=iterations.to_dict("records"),
        labelled=bool(iterations["auroc"].notna().any()),
        comparison=None if comparison is None else comparison.to_dict("records"),
        has_recovery=comparison is not None and "recovery" in comparison,
        methods=METHODS,
        curves=_svg(iteration_curves(iterations, references)),
        histograms=_svg(score_histograms(scores, thresholds)),
        gallery=[_card(run, row) for row in shown.to_dict("records")],
        gallery_left_out=max(0, len(ordered) - _GALLERY),
        approved=approval(run.reviews()),
        left_out={file: lines for file, lines in left_out(PreparedSet(run.path)).items() if lines},
        **_lineage(run, summary["iterations"]),
    )
    with atomic_path(run.report) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return run.report


def _questions(run: RunDirectory, outcome: dict[str, Any]) -> list[dict[str, Any]]:
    """What is undecided: a caption and a few pictures of each group, and of the images that stand out by themselves."""
    groups = outcome.get("groups", [])
    singles = outcome.get("singles", [])
    shown = [(f"{len(group['images'])} images that stand apart", group["representatives"]) for group in groups]
    if singles:
        count = f"{len(singles)} images that stand" if len(singles) > 1 else "An image that stands"
        shown.append((f"{count} out alone", singles[:_SINGLES]))
    md5 = run.manifest().set_index("image_id")["md5"]
    return [
        {
            "caption": caption,
            "pictures": [{"name": name, "thumbnail": thumbnail_uri(run, name, md5[name])} for name in names],
        }
        for caption, names in shown
    ]


def _lineage(run: RunDirectory, last_iteration: int) -> dict[str, Any]:
    fingerprint = run.features()["fingerprint"]
    common = {
        **common_tags(run),
        **run.record().get("code", {}),
    }  # of the run, not of the machine that renders its page
    tracked = run.mlflow()
    return {
        "origin": {
            "manifest sha256": run.record()["manifest_sha256"],
            "parameters": common["irp.params_digest"],
            "features": fingerprint,
            "code": f"irp {common['irp.version']}, sha256 {common['irp.code_sha256']}",
            "git commit": common.get("mlflow.source.git.commit"),
            "MLflow run": tracked["run"] if tracked else None,
        },
        "models": [training_tags(run, k, fingerprint) for k in range(last_iteration + 1)],
    }


def _card(run: RunDirectory, row: dict[str, Any]) -> dict[str, Any]:
    known = row["label"] is not None and row["decision"] in GONE
    truth = {True: "bad", False: "good"}.get(row["injected"], "unknown") if known else "unknown"
    return {**row, "truth": truth, "thumbnail": thumbnail_uri(run, row["image_id"], row["md5"])}


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # Inline: no XML prolog, and a size that follows the page.
    return re.sub(
        r'(<svg[^>]*?) height="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text[text.index("<svg") :])
    )
