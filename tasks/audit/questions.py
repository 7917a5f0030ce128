"""An auditor's questions, asked of MLflow: a model's data, an image's history, the difference of two sets."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from irp_core.audit.history import HISTORY_COLUMNS, difference, image_history, removals_of_set, thresholds_applied
from irp_core.config import Params
from irp_core.data.manifest import training_rows
from irp_core.data.schemas import SCORES_SCHEMA
from irp_core.errors import InputError
from irp_core.packed.images import image_md5, is_image
from irp_core.run import files
from tasks.audit.known_digests import final_weights_sha256
from tasks.audit.lines import service_of
from tasks.tracking.finding import all_runs, find_run
from tasks.tracking.queries import registered_versions
from tasks.tracking.reader import TrackedRun
from tasks.versions.dvc_files import names_version
from tasks.versions.lineage import WEIGHTS_TAG

__all__ = ["compare_sets", "describe_model", "history_of_image", "training_set_of"]


_FEW = 4  # copies of an image that are looked up by their names


def describe_model(reference: str, params: Params) -> tuple[dict[str, Any], pd.DataFrame]:
    """What a model was trained on, and which images had been removed by then.

    Args:
        reference: see `tasks.tracking.finding.find_run`; without an iteration, the run's last model.

    Returns:
        The facts by name, and the rows of the removal table up to that model (`removals_of_set`).
    """
    run, iteration = find_run(reference, params)
    model = run.model(iteration)
    tags, number = model.data.tags, int(model.data.tags["irp.iteration"])
    removals = removals_of_set(_removals(run, number, final=iteration is None), training_set_of(run, iteration))
    start = len(training_rows(run.manifest()))
    n_train = int(model.data.metrics["n_train"])
    is_last = number == len(run.models) - 1
    versions = registered_versions(run.client).get(run.parent.info.run_id, []) if is_last else []
    facts = {
        "run": run.run_id,
        "model": f"iteration {number} of 0 to {len(run.models) - 1}",
        "registered as": ", ".join(versions) or None,
        **(service_of(run) if is_last else {}),
        "data set": tags["irp.dataset"],
        "data root": run.record()["data_root"],
        "images at the start": start,
        "images trained on": n_train,
        "images removed": start - n_train,
        "decisions": _counts(removals),
        "approved by": _approved(run),
        "DVC version": tags.get("irp.dvc_md5"),
        "cut from": tags.get("irp.parent_dvc_md5"),
        "get exactly these images": _checkout_command(run, model, number),
        "set sha256": tags["irp.set_sha256"],
        "git commit": _commit(tags),
        "parameters": tags["irp.params_digest"],
        "features": tags["irp.feature_fingerprint"],
        "code": f"irp {tags['irp.version']}, sha256 {tags['irp.code_sha256']}",
        "weights sha256": final_weights_sha256(run) if is_last else tags[WEIGHTS_TAG],
        "trained": pd.Timestamp(model.info.start_time, unit="ms", tz="UTC").isoformat(timespec="seconds"),
        "status": run.parent.info.status,
        "MLflow run": f"{model.info.run_id} (parent {run.parent.info.run_id})",
    }
    return facts, removals


def training_set_of(run: TrackedRun, iteration: int | None) -> pd.DataFrame:
    """`image_id` and `md5` of the images that a model was trained on."""
    number = int(run.model(iteration).data.tags["irp.iteration"])
    return run.scores(number)[["image_id", "md5"]]


def history_of_image(image: str, params: Params) -> pd.DataFrame:
    """What every tracked run did with an image, newest run first.

    Args:
        image: a file (its content counts, not its name), an md5, or an image's id in a data set.

    Returns:
        The columns of `image_history` behind `run`, `created` and `status`; `in_last_model`, whether the run's last
        model trained on the image, whatever was decided afterwards; and `registered_as` with the registered models of
        such a run.

    Raises:
        InputError: no run knows the image.
    """
    column, value = _image_key(image)
    runs = [run for run in all_runs(params) if run.has_manifest]
    versions = registered_versions(runs[0].client) if runs else {}
    histories = []
    unreadable = []
    for run in runs:
        try:
            manifest = _manifest_of(run, **{column: value})
            if len(manifest):
                registered = ", ".join(versions.get(run.parent.info.run_id, [])) or None
                histories.append(_history_in(run, manifest, {column: value}, registered))
        except InputError as error:  # one run's lost or changed files are no reason to know nothing of the others
            row = {"run": run.run_id, "status": run.parent.info.status, "decision": "not readable", "note": str(error)}
            unreadable.append(row)
    if not histories:
        raise InputError(f"{image}: no run at {params.tracking.uri} knows an image with {column} {value!r}.")
    if unreadable:
        histories.append(pd.DataFrame(unreadable).reindex(columns=histories[0].columns))
    return pd.concat(histories, ignore_index=True)


def _manifest_of(run: TrackedRun, **image: str) -> pd.DataFrame:
    """The rows of an image, while the next table that is asked is held against its digest at its side.

    Not where that table would have to be fetched: most runs may not know the image.
    """
    with ThreadPoolExecutor(1) as side:
        if run.ended and run.here:
            side.submit(run.file, f"{files.TABLES}/{files.SCORES}")
        return run.manifest(**image)


def _history_in(run: TrackedRun, manifest: pd.DataFrame, image: dict[str, str], registered: str | None) -> pd.DataFrame:
    if run.ended:
        applied = thresholds_applied(run.iterations(), run.summary()["last_round"])
        # A model's rows are sorted by name: few groups of rows can have one, but any may have a content.
        names = manifest["image_id"].tolist()
        known = [{"image_id": name} for name in names] if len(names) <= _FEW else [image]
        scores = pd.concat([run.all_scores(**one) for one in known], ignore_index=True)
    else:  # it ended early: what its models left behind
        decided = [model for model in run.models if "threshold" in model.data.metrics]
        applied = {int(m.data.tags["irp.iteration"]) - 1: m.data.metrics["threshold"] for m in decided}
        tables = [run.scores(k, **image) for k, m in enumerate(run.models) if m.info.status == "FINISHED"]
        scores = pd.concat([SCORES_SCHEMA.empty_table().to_pandas(), *tables], ignore_index=True)
        registered = None
    history = image_history(manifest, scores, run.removals(**image), applied)
    in_last = history["iteration"].eq(len(run.models) - 1) & history["trained_on"].eq(True)
    return history.assign(
        run=run.run_id,
        created=pd.Timestamp(run.parent.info.start_time, unit="ms", tz="UTC").isoformat(timespec="seconds"),
        status=run.parent.info.status,
        in_last_model=in_last.groupby(history["image_id"]).transform("any"),
        registered_as=pd.Series([registered if last else None for last in in_last], dtype=object),
    )[["run", "created", "status", *HISTORY_COLUMNS, "in_last_model", "registered_as"]]


def compare_sets(first: str, second: str, params: Params) -> tuple[dict[str, Any], pd.DataFrame]:
    """Which images two training sets do not share and why, and which parameters their runs do not share.

    Args:
        first, second: see `tasks.tracking.finding.find_run`; without an iteration, the set of the run's last model.
    """
    runs = {"A": find_run(first, params), "B": find_run(second, params)}
    sets = {side: training_set_of(run, iteration) for side, (run, iteration) in runs.items()}
    removals, manifests, plain = {}, {}, {}
    facts: dict[str, Any] = {}
    for side, (run, iteration) in runs.items():
        model = run.model(iteration)
        number = int(model.data.tags["irp.iteration"])
        removals[side] = _removals(run, number, final=False)
        manifests[side] = run.manifest()
        plain[side] = {
            f"{section}.{key}": value
            for section, values in run.record()["params"].items()
            for key, value in values.items()
        }
        facts[side] = f"{run.run_id}, iteration {number}: {len(sets[side])} images"
        facts[f"{side} DVC version"] = model.data.tags.get("irp.dvc_md5")
    facts["shared images"] = len(sets["A"].merge(sets["B"], on=["image_id", "md5"]))
    for key in sorted(set(plain["A"]) | set(plain["B"])):
        if plain["A"].get(key) != plain["B"].get(key):
            facts[key] = f"{plain['A'].get(key)} in A, {plain['B'].get(key)} in B"
    return facts, difference(sets["A"], sets["B"], removals, manifests)


def _image_key(image: str) -> tuple[str, str]:
    if is_image(Path(image)):
        return "md5", image_md5(Path(image))
    if re.fullmatch(r"[0-9a-f]{32}", image):
        return "md5", image
    return "image_id", image


def _removals(run: TrackedRun, iteration: int, *, final: bool) -> pd.DataFrame:
    """Removal rows up to a model: with `final` also the last round's and a review's, of the whole run."""
    table = run.removals()
    return table if final else table[table["iteration"] <= iteration].reset_index(drop=True)


def _counts(removals: pd.DataFrame) -> str | None:
    counts = removals.drop_duplicates(["image_id", "decision"])["decision"].value_counts()
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or None


def _approved(run: TrackedRun) -> str | None:
    if reviewer := run.tags.get("irp.approved_by"):
        return f"{reviewer}, {run.tags.get('irp.approved_at')}"
    return "reviewed, not approved" if len(run.reviews()) else None


def _commit(tags: dict[str, str]) -> str | None:
    commit = tags.get("mlflow.source.git.commit")
    return commit and commit + (" (with uncommitted changes)" if tags.get("irp.git_dirty") == "true" else "")


def _checkout_command(run: TrackedRun, model: Any, iteration: int) -> str | None:
    """The command that works in this repository: DVC's own where the `.dvc` file is at hand, else ours."""
    file, md5 = model.data.tags.get("irp.dvc_file"), model.data.tags.get("irp.dvc_md5")
    if md5 is None:
        return None
    if names_version(Path(file), md5):
        return f"dvc pull {file}"
    return f"irp audit checkout {run.run_id}:{iteration}"
