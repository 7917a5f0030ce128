"""What a person sees in the terminal: tables that read at a glance, where everything lies, what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.terminal.health import show_health
from flows.terminal.left_out import show_folders, show_left_out
from flows.terminal.tables import plain_table
from irp_core.methods import METHODS
from irp_core.refinement.reviews import approval
from irp_core.removals import REMOVED
from irp_core.results.located import maps_sentence
from irp_core.results.thresholds import operating_sentence, removal_sentence
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from irp_core.statistics.recovery import recovery_text

__all__ = ["show_comparison", "show_prepared", "show_removed", "show_run"]

_STOPPED = {
    "converged": "nothing exceeds the threshold any more",
    "cycle": "the next set would be one that was there before",
    "max_iterations": "the number of iterations is used up (refinement.max_iterations)",
    "max_removed_fraction": "the largest share that may be removed is removed (refinement.max_removed_fraction)",
}

_LEFT_OUT = 4  # lines of each kind of what was left out or is odd
_SLOW = 0.3  # of the time, from which Prefect's part is worth a hint


def _share(value: Any) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.3f}"


def show_prepared(console: Console, counts: dict[str, Any], path: Path, output: Path) -> None:
    """Counts of a prepared data set."""
    columns = ("train", "injected", "test", "unused", "quarantined", "ignored", "duplicates")
    table = plain_table(f"Prepared (layout {counts['layout']})", *columns)
    table.add_row(*(str(counts[column]) for column in columns))
    console.print(table)
    if counts["crop"] != "none":
        told = "there are no masks to tell what it loses"
        if counts["masks"]:
            told = (
                f"of {counts['masks']} defects with a mask it loses {counts['defects_lost']} "
                f"(no pixel is left inside) and cuts {counts['defects_cut']}"
            )
        console.print(f"images.crop {counts['crop']}: {told}.", style="yellow" if counts["defects_lost"] else "")
    show_left_out(console, PreparedSet(output))
    show_folders(console, PreparedSet(output))
    show_health(console, PreparedSet(output))
    console.print(f"Tables in {output}")
    wanted = counts["recommended_size"]
    if counts["crop"] == "none" and wanted != counts["size"]:
        said = f"Recommended by the images' own sizes: -S images.size={wanted} (now {counts['size']})."
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print(f"[bold]Next[/bold]  irp refine {path} --manifest {output}", highlight=False, soft_wrap=True)


def show_run(console: Console, run: RunDirectory, *, closing: bool = True) -> None:
    """Iterations, why it stopped, time by stage, where things are and the next commands."""
    iterations, summary = run.iterations(), run.summary()
    labelled = iterations["auroc"].notna().any() or iterations["removal_precision"].notna().any()
    columns = ["it.", "images", "removed", "threshold", "highest"]
    table = plain_table(run.run_id, *columns, *(("AUROC", "AP", "prec.", "recall") if labelled else ()))
    for row in iterations.to_dict("records"):
        came_back = f", {row['n_restored']} back" if row["n_restored"] else ""
        cells = [str(row["iteration"]), str(row["n_train"])]
        cells += [f"{row['n_removed']}{came_back}" if row["iteration"] else "–"]
        cells += [_share(row["threshold"]), _share(row["max_score"])]
        if labelled:
            names = ("auroc", "average_precision", "removal_precision", "removal_recall")
            cells += [_share(row[name]) for name in names]
        table.add_row(*cells)
    console.print(table)
    if summary.get("outcome"):  # its sentences say why, better than a threshold can
        console.print(f"Stopped after {summary['iterations']} iterations.")
    else:
        console.print(f"Stopped after {summary['iterations']} iterations: {_STOPPED[summary['stop_reason']]}.")
    _show_findings(console, summary)
    _show_inputs(console, run)
    if closing:
        _show_times(console, run)
        _show_places(console, run)


def _show_findings(console: Console, summary: dict[str, Any]) -> None:
    """What the run finds without labels: estimated contamination, operating threshold."""
    if said := summary.get("outcome"):
        console.print(f"[bold]{said['kind'].capitalize()}.[/bold]", highlight=False)
        for sentence in said["sentences"]:
            console.print(escape(sentence), highlight=False, soft_wrap=True)
    elif found := summary.get("contamination"):
        shares = f"{100 * found['share']:.0f} % of the images (90 % interval {100 * found['low']:.0f} to"
        text = f"Estimated contamination: {shares} {100 * found['high']:.0f} %)."
        unsure = round(found["share"] * summary["n_start"]) - summary["n_removed"]
        if unsure > 0.02 * summary["n_start"]:
            text += f" About {unsure} more than were removed, but which is not certain: irp review shows them."
        console.print(text, highlight=False)
    for said in (removal_sentence(summary), operating_sentence(summary), maps_sentence(summary)):
        if said:
            console.print(said, highlight=False, soft_wrap=True)


def _show_inputs(console: Console, run: RunDirectory) -> None:
    show_left_out(console, PreparedSet(run.path), lines_each=_LEFT_OUT)
    features = run.features()
    images = sum(features[split]["images"] for split in ("train", "rest") if split in features)
    misses = sum(features[split]["misses"] for split in ("train", "rest") if split in features)
    console.print(f"Features: {images} images, {misses} of them through the network, {images - misses} from the store.")


def _show_times(console: Console, run: RunDirectory) -> None:
    times = run.timings()
    total = sum(times.values())
    if not total:
        return
    orchestration = sum(times.get(stage, 0.0) for stage in ("prefect", "track", "snapshot"))
    parts = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in sorted(times.items(), key=lambda item: -item[1]))
    console.print(f"Time: {total:.1f} s ({parts}).", highlight=False)
    said = f"Prefect, MLflow and DVC took {orchestration:.1f} s of it, {100 * orchestration / total:.0f} %"
    if times.get("prefect", 0.0) > _SLOW * total:
        said += "; with --no-prefect the tables are the same"
    console.print(f"{said}.", highlight=False)


def _show_places(console: Console, run: RunDirectory) -> None:
    params = run.params()
    rows = [
        ("Tables, model", str(run.path)),
        ("MLflow", f"{params.tracking.uri}, experiment {params.tracking.experiment}"),
    ]
    version = run.snapshot(run.summary()["iterations"])
    if params.snapshots.enabled and version:
        rows.append(("Cleaned data set", f"{version['dvc_file']} (dvc checkout {version['dvc_file']})"))
    if run.report.exists():
        rows.append(("Report", str(run.report)))
    if params.tracking.registered_model is not None:
        rows.append(("Registered", registration(run)))
    commands = next_commands(run)
    rows += [("Next" if place == 0 else "", command) for place, command in enumerate(commands)]
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(f"[bold]{name}[/bold]", value)
    console.print(grid, highlight=False, soft_wrap=True)


def registration(run: RunDirectory) -> str:
    """What became of `tracking.registered_model`, in words."""
    params, name = run.params(), run.params().tracking.registered_model
    if params.run.outputs != "full":
        return f"not as {name}: run.outputs is {params.run.outputs}, so no model was kept"
    if not params.review.required or approval(run.reviews()):
        return f"as {name}"
    return f"not yet as {name}: review.required waits for an approval (irp review {run.path})"


def next_commands(run: RunDirectory) -> list[str]:
    """What fits this run's end: a question first, where there is one."""
    kind = (run.summary().get("outcome") or {}).get("kind")
    commands = [f"irp review {run.path} --ask 30"] if kind == "undecided" else []
    if run.params().review.required and not approval(run.reviews()):
        commands.append(f"irp review {run.path}")
    if run.summary()["n_removed"]:
        commands.append(f"irp show {run.path} --removed")
    return [*commands, f"irp score {run.path} NEW_IMAGES", f"irp export {run.path} --to FOLDER"]


def show_removed(console: Console, run: RunDirectory) -> None:
    """The history of removals: every decision about an image with its score."""
    removed = run.removals()
    labelled = removed["label"].notna().any()
    reviewed = removed["reviewer"].notna().any()
    decided = reviewed or (removed["decision"] != REMOVED).any()
    table = plain_table(
        "Removed images",
        *("iteration", "score", "threshold", "rule", "image"),
        *(("decision",) if decided else ()),
        *(("reviewer",) if reviewed else ()),
        *(("label",) if labelled else ()),
    )
    for row in removed.sort_values(["iteration", "score"], ascending=[True, False]).to_dict("records"):
        cells = [str(row["iteration"]), _share(row["score"]), _share(row["threshold"]), row["rule"]]
        cells.append(escape(row["image_id"]))
        if decided:
            cells.append(row["decision"].replace("_", " "))
        if reviewed:
            cells.append("–" if pd.isna(row["reviewer"]) else escape(row["reviewer"]))
        style = {"good": "green", "defective": "red"}.get(row["label"], "")
        table.add_row(*cells, *((f"[{style}]{row['label']}[/]",) if labelled and style else ()))
    console.print(table)


def show_comparison(console: Console, table: pd.DataFrame, runs: dict[str, str]) -> None:
    """One row per method, and each method's run."""
    has_recovery = "recovery" in table
    columns = [
        "method",
        "images",
        "removed",
        "AUROC",
        "AP",
        "prec.",
        "recall",
        *(["recovery"] if has_recovery else []),
    ]
    shown = plain_table("Methods on the same contaminated set", *columns)
    for row in table.to_dict("records"):
        cells = [row["method"], f"{row['n_train']:.0f}", f"{row['n_removed']:.0f}"]
        names = ("auroc", "average_precision", "removal_precision", "removal_recall")
        cells += [_share(row[name]) for name in names]
        if has_recovery:
            cells.append(recovery_text(row["recovery"]))
        shown.add_row(*cells, style="bold" if METHODS[row["method"]].iterative else "")
    console.print(shown)
    for method in table["method"]:
        told = f"[bold]{method:<13}[/bold] {METHODS[method].summary}: {runs[method]}"
        console.print(told, highlight=False, soft_wrap=True)
