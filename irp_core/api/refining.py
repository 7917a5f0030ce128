"""`irp_core.refine`: a folder in, a `Result` out; the loop runs in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from irp_core import __version__
from irp_core.api.result import Result, review_command
from irp_core.backbones import WEIGHT_SOURCES, load_backbone
from irp_core.config import Features, Params
from irp_core.data.manifest import manifest_digest, training_rows
from irp_core.data.scan import scan_and_contaminate
from irp_core.errors import InputError
from irp_core.features.pipeline import Bar, FeaturePipeline, StoredFeatures
from irp_core.features.pooled import resolve_device, resolve_precision
from irp_core.inspection import SavedMaps, save_inspector
from irp_core.params_file import checked_params
from irp_core.refinement.in_memory import Refined, refine_in_memory
from irp_core.refinement.reviews import current_decisions, no_events, read_events
from irp_core.refinement.scoring import local_needed, localiser_name, needs_of, only_of, scorers
from irp_core.results.localising import fit_localiser
from irp_core.results.operating import find_operating_point
from irp_core.results.results import write_result_tables, write_round
from irp_core.run.directory import RunDirectory
from irp_core.run.inputs import RunInputs
from irp_core.run.prepared import PreparedSet, expect_trainable
from irp_core.run.step_files import read_maps, write_maps, write_scored

__all__ = ["refine"]

_KEY = "in memory"  # no inputs' digest: a run that goes on from here makes its steps anew


def refine(
    folder: str | Path,
    *,
    decisions: str | Path | pd.DataFrame | None = None,
    bar: Bar | None = None,
    **settings: Mapping[str, Any],
) -> Result:
    """Refine a folder of images: no server, no database, no repository.

    Args:
        folder: images, in any layout that `irp prepare` knows; a plain folder will do.
        decisions: what people said before: a CSV, or a table with `md5` and `decision` (`kept_by_review` or
            `removed_by_review`). These images stay or go, and the method learns from them.
        bar: makes progress bars: description → a context that gives `advance(done, total)`.
        settings: sections of `params.yaml` with the keys that are not to have their defaults, as in
            `refine(folder, images={"size": 320}, refinement={"method": "irp"}, run={"seed": 1})`. What concerns
            tracking, snapshots and folders is not read. Features are kept only if `features={"store": …}` says where.

    Returns:
        Who is kept and who is removed, all scores, and the detector that was trained on the kept images.

    Raises:
        InputError: no folder, no readable image, an unknown setting, weights that are not on this machine.
    """
    params = checked_params({name: dict(section) for name, section in settings.items()}, "refine")
    weights = _weights(params.features)
    place = tempfile.TemporaryDirectory(prefix="irp-")
    try:
        run = RunDirectory(Path(place.name) / _name(Path(folder)))
        _prepare(run, Path(folder), params, decisions)
        with tempfile.TemporaryDirectory(prefix="irp-features-") as store:
            stored = "store" in settings.get("features", {})
            kept_in = params.features.store if stored else store
            filled = params.model_copy(update={"features": params.features.model_copy(update={"store": kept_in})})
            features = _extract(run, filled, weights, bar)
            refined = _refine(run, features, params)
            last = refined.iterations
            enough = len(set(run.groups(run.training_set(last)))) > 1
            operating = find_operating_point(run, last, features)[1] if enough else None
            located = _localise(run, last, features, weights) if enough else None
        summary = write_result_tables(run, last, operating, review_command("FOLDER", params, "result.save('FOLDER')"))
        point = operating or {**summary["last_round"], "basis": "last round"}
        _save_model(run, refined, params, weights, point, located)
        run.write_summary(summary | {"maps": located})
        return Result(run, place)
    except BaseException:
        place.cleanup()
        raise


def _name(root: Path) -> str:
    return root.resolve().name.replace(" ", "_") or "data"


def _weights(features: Features) -> Path | None:
    if features.backbone == "bundled":
        if features.weights is not None:
            raise InputError(f"features.weights must be null for backbone bundled. Got {features.weights!r}.")
        return None
    if features.weights is None:
        raise InputError(
            f"features.weights must name a file on this machine for backbone {features.backbone}: here nothing is "
            f"downloaded. The publisher's is {WEIGHT_SOURCES[features.backbone][0]}."
        )
    return Path(features.weights)


def _prepare(run: RunDirectory, root: Path, params: Params, decisions: str | Path | pd.DataFrame | None) -> None:
    """Scan, and write what a run knows when it begins."""
    prepared = PreparedSet(run.path)
    found, manifest = scan_and_contaminate(root, params)
    prepared.write_found(found)
    expect_trainable(manifest, root)
    rows = training_rows(manifest)
    prepared.write_manifest(manifest)
    said = _standing(decisions)
    run.write_decisions(said[said["md5"].isin(rows["md5"])].reset_index(drop=True))
    run.write_record(
        {
            "run_id": run.run_id,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "data_root": str(root.resolve()),
            "dataset": _name(root),
            "manifest_sha256": manifest_digest(manifest),
            "version": __version__,
            "params": params.model_dump(mode="json"),
            **RunInputs().plain(),
        }
    )


def _standing(decisions: str | Path | pd.DataFrame | None) -> pd.DataFrame:
    if decisions is None:
        return no_events()
    if isinstance(decisions, pd.DataFrame):
        with tempfile.TemporaryDirectory() as folder:  # held to the same rules as a file
            file = Path(folder) / "decisions.csv"
            decisions.to_csv(file, index=False)
            return current_decisions(read_events(file))
    return current_decisions(read_events(Path(decisions)))


def _extract(run: RunDirectory, params: Params, weights: Path | None, bar: Bar | None) -> StoredFeatures:
    pipeline = FeaturePipeline(params, weights, local_needed(params))
    rows = training_rows(run.manifest())
    use = pipeline.fill(rows, run.data_root(), "train", bar, only_of(params, rows["md5"].tolist()))
    run.write_features(
        {
            "fingerprint": pipeline.stored.fingerprint,
            "train": {"images": use.hits + use.misses, "misses": use.misses},
        }
    )
    return pipeline.stored


def _refine(run: RunDirectory, features: StoredFeatures, params: Params) -> Refined:
    """The loop, and its rounds in the run's folder."""
    manifest = run.manifest()
    rows = training_rows(manifest)
    rows["group"] = run.groups(rows)
    refined = refine_in_memory(
        rows,
        features.read(
            rows,
            params.views.bank,
            needs_of([params.detector.name, *scorers(run.policy(), params)]),
            only_of(params, rows["md5"].tolist()),
        ),
        params,
        injected=frozenset(manifest.loc[manifest["injected"], "image_id"]),
        decisions=run.decisions(),
    )
    for iteration, (this, decision) in enumerate(refined.rounds):
        tables = [
            this.images[this.images["inside"] == inside].assign(iteration=iteration).reset_index(drop=True)
            for inside in (True, False)
        ]

        def scored(folder: Path, tables: list[pd.DataFrame] = tables, this: Any = this) -> None:
            write_scored(folder, tables[0], tables[1], this.lower_bound, this.landscape)

        def decided(folder: Path, this: Any = this, decision: Any = decision) -> None:
            write_round(run, folder, this, decision)

        run.do("score", iteration, _KEY, scored)
        run.do("decide", iteration + 1, _KEY, decided)
    return refined


def _localise(
    run: RunDirectory, iteration: int, features: StoredFeatures, weights: Path | None
) -> dict[str, Any] | None:
    """What says where; nothing is measured: no test image is read."""
    if localiser_name(run.params()) is None:
        return None

    def make(folder: Path) -> None:
        found = fit_localiser(run, iteration, features, folder, weights)
        assert found is not None
        write_maps(folder, {**found, "metrics": None})

    return read_maps(run.do("localise", None, _KEY, make))


def _save_model(
    run: RunDirectory,
    refined: Refined,
    params: Params,
    weights: Path | None,
    operating: Mapping[str, object],
    located: Mapping[str, Any] | None,
) -> None:
    backbone = load_backbone(params.features.backbone, weights, params.features.layers)
    # As it was resolved here: `auto` may mean another precision, and other scores, where the model is loaded.
    precision = resolve_precision(params.features.precision, resolve_device(params.features.device))
    exact = params.features.model_copy(update={"precision": str(precision).removeprefix("torch.")})
    run.model.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as trained:
        refined.detector.save(Path(trained))
        maps = None if located is None else SavedMaps(located["detector"], located["scale"], run.step("localise"))
        exact_params = params.model_copy(update={"features": exact})
        save_inspector(run.model, Path(trained), backbone, exact_params, operating, maps)
