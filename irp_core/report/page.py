"""One self-contained HTML page per run: it works offline and loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from irp_core.config import Images
from irp_core.localisation.rendering import colour_stops
from irp_core.methods import METHODS
from irp_core.plots import iteration_curves, score_histograms
from irp_core.refinement.reviews import approval
from irp_core.removals import GONE
from irp_core.report.html import svg, write_html
from irp_core.report.lineage import Lineage
from irp_core.report.run_maps import RunMaps
from irp_core.report.thumbnails import THUMBNAIL, Find, jpeg_uri, thumbnail_uri
from irp_core.results.left_out import left_out
from irp_core.results.located import maps_sentence
from irp_core.results.thresholds import operating_sentence, removal_sentence
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from irp_core.statistics.recovery import recovery_text

__all__ = ["render"]

_TEMPLATE = Path(__file__).parent / "templates" / "report.html"
_SINGLES = 8  # images
_GROUPS = 24  # that the page shows
_SENTENCES = 40  # of the outcome: one per group
_GALLERY = 240  # images; about 8 KB each, and as much for the map, keeps the page under 5 MB


def render(
    run: RunDirectory,
    output: Path,
    lineage: Lineage,
    *,
    find: Find,
    comparison: pd.DataFrame | None = None,
) -> Path:
    """Write the page: summary, curves, histograms, gallery of removed images, settings, lineage; returns `output`.

    Args:
        run: a finished run.
        output: the HTML file.
        lineage: where the run comes from.
        find: (image_id, md5) → the file with this content, or None where it is no longer had.
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
    filters: dict[str, Callable[..., Any]] = {
        "share": lambda v: "–" if v is None or pd.isna(v) else f"{v:.3f}",
        "percent": lambda v: "–" if v is None or pd.isna(v) else f"{100 * v:.0f} %",
        "recovery": recovery_text,
        "commands": _commands,
    }
    run_maps = RunMaps(run)
    gallery = [_card(run, row, find, run_maps) for row in shown.to_dict("records")]
    return write_html(
        _TEMPLATE,
        output,
        filters,
        run_id=run.run_id,
        record=record,
        summary={"contamination": None, "operating": None, "outcome": None, **summary},  # of an older run
        sentences=_SENTENCES,
        questions=_questions(run, summary.get("outcome") or {}, find, run_maps),
        maps={"stops": colour_stops()} if run_maps else None,
        iterations=iterations.to_dict("records"),
        labelled=bool(iterations["auroc"].notna().any()),
        comparison=None if comparison is None else comparison.to_dict("records"),
        has_recovery=comparison is not None and "recovery" in comparison,
        methods=METHODS,
        curves=svg(iteration_curves(iterations, references)),
        histograms=svg(score_histograms(scores, thresholds)),
        gallery=gallery,
        truth_known=any(card["truth"] != "unknown" for card in gallery),
        gallery_left_out=max(0, len(ordered) - _GALLERY),
        thresholds=[
            said for said in (removal_sentence(summary), operating_sentence(summary), maps_sentence(summary)) if said
        ],
        approved=approval(run.reviews()),
        left_out={file: lines for file, lines in left_out(PreparedSet(run.path)).items() if lines},
        origin=lineage.origin,
        models=lineage.models,
    )


def _questions(run: RunDirectory, outcome: dict[str, Any], find: Find, maps: RunMaps) -> list[dict[str, Any]]:
    """What is undecided: a caption and a few pictures of each group, and of the images that stand out by themselves."""
    groups = outcome.get("groups", [])[:_GROUPS]
    singles = outcome.get("singles", [])
    shown = [
        _some(f"{len(group['images'])} images that stand apart", len(group["images"]), group["representatives"])
        for group in groups
    ]
    if singles:
        count = f"{len(singles)} images that stand" if len(singles) > 1 else "An image that stands"
        shown.append(_some(f"{count} out alone", len(singles), singles[:_SINGLES]))
    md5, images = run.manifest().set_index("image_id")["md5"], run.params().images
    return [
        {
            "caption": caption,
            "pictures": [{"name": name, **_pictures(md5[name], find(name, md5[name]), images, maps)} for name in names],
        }
        for caption, names in shown
    ]


def _some(caption: str, of: int, names: list[str]) -> tuple[str, list[str]]:
    """The caption, which says so where only some of the images are shown."""
    return (caption if len(names) == of else f"{caption}; {len(names)} of them"), names


def _pictures(md5: str, file: Path | None, images: Images, maps: RunMaps) -> dict[str, str | None]:
    return {"thumbnail": thumbnail_uri(file, images), "map": jpeg_uri(maps.jpeg(md5, file, THUMBNAIL))}


def _card(run: RunDirectory, row: dict[str, Any], find: Find, maps: RunMaps) -> dict[str, Any]:
    known = row["label"] is not None and row["decision"] in GONE
    truth = {True: "right", False: "wrong"}.get(row["injected"], "unknown") if known else "unknown"
    file = find(row["image_id"], row["md5"])
    return {**row, "truth": truth, **_pictures(row["md5"], file, run.params().images, maps)}


def _commands(sentence: str) -> Markup:
    """A sentence with what stands between backquotes set as code."""
    parts = escape(sentence).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(Markup(part)) if number % 2 else Markup(part)
        for number, part in enumerate(parts)
    )
