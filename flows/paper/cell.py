"""One cell of the sweep: an entity at a noise level, all seeds and methods, under one Prefect server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from flows.paper.jobs import Job, run_jobs
from flows.paper.places import cell, features, metrics, prepared, raw
from flows.paper.progress import Clock, duration
from irp_core.atomic import atomic_directory, write_json
from irp_core.config import Images, Params, digest
from irp_core.data.manifest import training_rows
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.methods import in_order
from irp_core.removals import standing_removals
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from tasks.reports.thumbnails import jpeg
from tasks.runtime.prefect_server import prefect_server

__all__ = ["results_of", "run_cell"]

_THUMBNAILS = 24  # removed images whose thumbnails are kept for figure 5
_THUMBNAIL = 160  # pixels


def run_cell(entity: str, level: int, params: Params) -> None:
    """Run every seed and method, skipping the runs that are finished; write the cell's tables and metrics.

    Raises:
        InputError: a cell that is not part of the sweep.
    """
    sweep = params.sweep
    if entity not in sweep.entities or level not in sweep.levels:
        raise InputError(f"{entity} at {level} % is not part of the sweep (sweep.entities, sweep.levels).")
    clock = Clock(params, _set_sizes(params), _code())
    number = len(clock.finished() - {(entity, level)}) + 1
    print(
        f"Cell {number} of {len(clock.cells())}: {entity}, {level} % defective, {len(sweep.seeds)} seeds, "
        f"{len(sweep.methods)} methods; {duration(clock.left((entity, level)))}",
        flush=True,
    )
    started = time.perf_counter()
    # Nobody reads log lines between DVC's; every one still reaches the Prefect API.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    methods = in_order(sweep.methods)
    total = len(methods) * len(sweep.seeds)

    def report(job: Job, done: int) -> None:
        elapsed = time.perf_counter() - started
        if done % max(1, total // 3) == 0 or done == total:
            left = clock.left((entity, level), elapsed=elapsed, done=done / total)
            print(f"  {done} of {total} runs after {elapsed:.0f} s; {duration(left)}", flush=True)

    with prefect_server(Path(".irp/prefect-server.log")) as wait:
        runs = run_jobs(
            methods,
            {seed: _settings(entity, level, seed, params) for seed in sweep.seeds},
            {seed: (str(raw(entity)), str(prepared(entity, level, seed))) for seed in sweep.seeds},
            ready=wait,
            report=report,
        )
    for path in runs.values():  # until here they were shared
        RunDirectory(Path(path)).drop_weights()
    _write(entity, level, params.images, {job: runs[job] for job in ((s, m) for s in sweep.seeds for m in methods)})
    clock.record(entity, level, time.perf_counter() - started)
    if clock.finished() == set(clock.cells()):
        print(f"  All {len(clock.cells())} cells are done; they took {clock.total() / 60:.0f} min.", flush=True)


def _set_sizes(params: Params) -> dict[str, int]:
    sizes = {}
    for entity in params.sweep.entities:
        found = PreparedSet(prepared(entity, params.sweep.levels[0], params.sweep.seeds[0]))
        if found.exists():
            sizes[entity] = len(training_rows(found.manifest()))
    return sizes


def _settings(entity: str, level: int, seed: int, params: Params) -> dict[str, Any]:
    """The parameters of one seed's runs: a plain refinement run's, but for where things are kept."""
    plain = params.model_dump(mode="json")
    plain["contamination"] = params.sweep.contamination_at(level, params.contamination).model_dump(mode="json")
    plain["features"]["store"] = str(features(entity))
    plain["detector"]["name"] = params.sweep.detector
    plain["refinement"]["removal"] = "all_above"  # `irp` is eq. 6 here; Algorithm 1 is `irp_max_one`
    plain["training"] = params.sweep.training_of(entity, params.training).model_dump(mode="json")
    plain["tracking"] |= {"experiment": f"{params.tracking.experiment}-sweep", "registered_model": None}
    plain["review"] |= {"decisions": None, "required": False}  # an experiment's images are nobody's to decide about
    plain["snapshots"]["enabled"] = False  # no DVC command may run inside a DVC stage
    plain["run"] = {"seed": seed, "directory": str(_runs(entity, level, params)), "outputs": "tables"}
    return plain


def _runs(entity: str, level: int, params: Params) -> Path:
    """Folder of the cell's run directories, outside DVC's outputs so that a restart finds them.

    A run's id does not speak of the code. The code that DVC watches, and the features, are part of this folder's
    name, so that what they change is computed anew.
    """
    found = [(file.name, file_sha256(file)) for file in sorted(features(entity).rglob("features.*"))]
    return Path(params.run.directory) / "sweep" / f"{entity}-{level}-{digest(_code(), found)[:8]}"


def _code() -> str:
    """Digest of the code files that `dvc.yaml` lists for the stage."""
    stage = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]["refine"]
    hashes = []
    for dependency in (Path(name) for name in stage["deps"] if "$" not in name):
        files = sorted(dependency.rglob("*.py")) if dependency.is_dir() else [dependency]
        hashes += [(file.as_posix(), file_sha256(file)) for file in files]
    return digest(hashes)


def _write(entity: str, level: int, images: Images, runs: dict[Job, str]) -> None:
    """`runs.csv` (a row per run), `removed.csv` (a row per removed image), thumbnails, and the metrics file."""
    rows, removed = [], []
    for (seed, method), path in runs.items():
        row, table = results_of(RunDirectory(Path(path)))
        rows.append({"entity": entity, "level": level, "seed": seed, "method": method, **row})
        removed.append(table.assign(entity=entity, level=level, seed=seed, method=method))
    table = pd.DataFrame(rows)
    gone = pd.concat(removed, ignore_index=True)
    keys = ["entity", "level", "seed", "method"]
    gone = gone[[*keys, "image_id", "iteration", "score", "threshold", "injected"]]
    with atomic_directory(cell(entity, level)) as folder:
        table.to_csv(folder / "runs.csv", index=False)
        gone.to_csv(folder / "removed.csv", index=False)
        (folder / "thumbnails").mkdir()
        shown = gone[(gone["method"] == "irp") & (gone["seed"] == gone["seed"].min())]
        shown = shown.sort_values(["iteration", "score"], ascending=[True, False]).head(_THUMBNAILS)
        for rank, row in enumerate(shown.to_dict("records")):
            truth = "bad" if row["injected"] else "good"
            picture = jpeg(raw(entity) / row["image_id"], _THUMBNAIL, images, quality=85)
            if picture is None:
                raise InputError(f"{raw(entity) / row['image_id']}: is no longer the image that it was.")
            (folder / "thumbnails" / f"{rank:02d}-{truth}.jpg").write_bytes(picture)
        (folder / "thumbnails" / "README.txt").write_text(
            "The first images that IRP (all above) removed with the first seed, highest score first.\n"
        )
    means = table.groupby("method", sort=False)["auroc"].mean()
    write_json(metrics(entity, level), {name: round(float(value), 4) for name, value in means.items()})


def results_of(run: RunDirectory) -> tuple[dict[str, Any], pd.DataFrame]:
    """What a finished run measured and removed, as a row of `runs.csv`, and the images that are removed at its end."""
    last, summary = run.iterations().iloc[-1], run.summary()
    removed = standing_removals(run.removals())
    bad = int(removed["injected"].eq(True).sum())
    row = {
        **{name: last[name] for name in ("auroc", "average_precision", "removal_precision", "removal_recall")},
        "removed_good": len(removed) - bad,
        "removed_bad": bad,
        "n_start": summary["n_start"],
        "n_injected": summary["n_injected"],
        "iterations": summary["iterations"],
        "stop_reason": summary["stop_reason"],
    }
    return row, removed
