"""Compare a line's challenger with its champion, and write down what the comparison says."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.atomic import atomic_path
from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.data.manifest import testing_rows
from irp_core.data.scan import scan
from irp_core.errors import InputError
from irp_core.inspection import Inspector
from irp_core.line.folder import LineFolder
from irp_core.line.rounds import LineRound
from irp_core.localisation.drawn import drawn
from irp_core.packed.images import is_image, read_image
from irp_core.promotion import Comparison, compare
from irp_core.report.thumbnails import Find
from irp_core.run.directory import RunDirectory
from tasks.promotion.evidence import Shown, evidence_of, reviewed_labels
from tasks.promotion.registry import CHAMPION, ROUND, Registry, open_registry
from tasks.reports.comparison_page import COMPARED, flips_shown, write_comparison_page
from tasks.runtime.retries import IO_RETRIES

__all__ = ["compare_with_champion", "enter_challenger"]

_KNOWN = ("irp.share_removed", "irp.contamination")


@task(task_run_name="enter-{line.name}", cache_policy=NO_CACHE, **IO_RETRIES)
def enter_challenger(line: Line, params: Params, number: int, run_path: str, published: dict[str, Any]) -> str:
    """Make the version of a run the challenger, and note on it where it comes from; returns its number.

    Args:
        number: of the round.
        published: see `tasks.versions.publish.Published`.
    """
    run = RunDirectory(Path(run_path))
    summary = run.summary()
    contamination = summary.get("contamination")
    parent = (run.mlflow() or {})["run"]
    with open_registry(line, params) as registry:
        version = registry.version_of_run(parent)
        if version.tags.get(ROUND) is None:  # the same set trained the same way is the same version
            tags = {
                "irp.line": line.name,
                "irp.run_id": run.run_id,
                "irp.dvc_md5": published["md5"],
                "irp.dvc_file": published["dvc_file"],
                "irp.set_commit": published["commit"],
                "irp.share_removed": summary["n_removed"] / summary["n_start"],
                "irp.contamination": None if contamination is None else contamination["share"],
            }
            registry.enter(str(version.version), number, tags)
    return str(version.version)


@task(task_run_name="compare-{line.name}", cache_policy=NO_CACHE, **IO_RETRIES)
def compare_with_champion(line: Line, params: Params, round_path: str, number: str) -> dict[str, Any]:
    """Compare version `number` with the one in service; writes the round's table of checks and page.

    Returns:
        `verdict`, `reason`, and `vetoes`: the names of the checks that refuse it.
    """
    this = LineRound(Path(round_path))
    with open_registry(line, params) as registry:
        champion = registry.aliases().get(CHAMPION)
        shown = _shown(line, params, this)
        history = _history(registry, number)
        mine = evidence_of(number, registry, params, shown, history)
        theirs = None if champion in (None, number) else evidence_of(str(champion), registry, params, shown, history)
        comparison = compare(theirs, mine, line.promotion)
        registry.tag(number, {"irp.verdict": comparison.verdict})
    _write(comparison, line, params, this, number)
    this.note_comparison()
    get_run_logger().info("%s/%s: %s. %s", line.name, number, comparison.verdict, comparison.reason)
    checks = comparison.checks
    vetoes = checks.loc[checks["verdict"] == "veto", "check"].tolist()
    return {"verdict": comparison.verdict, "reason": comparison.reason, "vetoes": vetoes}


def _shown(line: Line, params: Params, this: LineRound) -> Shown:
    """The held-out images, all new ones, the golden set, and what reviewers said."""
    record, manifest = this.record(), this.prepared.manifest()
    held_out = testing_rows(manifest)["image_id"]
    used = manifest[manifest["split"] != "unused"]
    rows = used.loc[used["image_id"].isin([*held_out, *record["new"]]), ["image_id", "md5"]].reset_index(drop=True)
    rows = rows.assign(new=rows["image_id"].isin(list(record["new"])))
    golden, golden_root = None, None
    if line.golden is not None:
        golden_root = Path(line.golden)
        found = scan(
            golden_root,
            good_names=params.dataset.good_names,
            copies_from=None,
            images=params.images,
            workers=params.features.workers,
        ).manifest
        golden = found.loc[found["label"].notna(), ["image_id", "md5", "label"]].reset_index(drop=True)
    decisions = RunDirectory(Path(record["run"])).decisions()
    return Shown(LineFolder(line.name).images, rows, golden_root, golden, reviewed_labels(decisions))


def _history(registry: Registry, number: str) -> pd.DataFrame:
    """Of the versions that were in service: what a new one is held against."""
    rows = []
    for version in registry.client.search_model_versions(f"name='{registry.line.name}'"):
        if "irp.promoted_at" in version.tags and str(version.version) != number:
            values = [version.tags.get(name) for name in _KNOWN]
            rows.append([str(version.version), *(None if value is None else float(value) for value in values)])
    return pd.DataFrame(rows, columns=["version", "share_removed", "contamination"])


def _write(comparison: Comparison, line: Line, params: Params, this: LineRound, number: str) -> None:
    with atomic_path(this.checks) as temporary:
        comparison.checks.to_parquet(temporary, index=False)
    record = this.record()
    images = LineFolder(line.name).images
    roots = [images, *([Path(line.golden)] if line.golden else [])]

    def find(image_id: str, _md5: str) -> Path | None:
        return next((root / image_id for root in roots if is_image(root / image_id)), None)

    version = f"{line.name}/{number}"
    decide = comparison.verdict != "promote"
    write_comparison_page(
        comparison,
        this.page,
        line=line.name,
        find=find,
        images=params.images,
        overlays=_overlays(comparison, RunDirectory(Path(record["run"])), find),
        facts={
            "round": str(this.number),
            "run": str(record["run"]),
            "images": f"{record['images']}, {len(record['new'])} of them new",
        },
        commands=(f"irp promote {version} --why …", f"irp reject {version} --why …") if decide else (),
    )


def _overlays(comparison: Comparison, run: RunDirectory, find: Find) -> dict[str, Image.Image]:
    """What the challenger sees in the images on the page; without its maps, or on any trouble, the page has none."""
    files = {row["image_id"]: find(row["image_id"], row["md5"]) for row in flips_shown(comparison)}
    there = {file: name for name, file in files.items() if file is not None}
    found: dict[str, Image.Image] = {}
    if not there:
        return found
    try:
        inspector = Inspector(run.model, run.params().features.device, maps=True, allow=[run.params().detector.name])
    except InputError:
        return found

    def draw(path: Path, view: NDArray[np.float32]) -> None:
        assert inspector.scale is not None
        with suppress(InputError):  # gone meanwhile
            content = read_image(path, inspector.images.max_bytes)
            found[there[path]] = drawn(content, view, inspector.scale, inspector.images).overlay(COMPARED)

    inspector.score(list(there), on_map=draw)
    return found
