"""Maps of the final model: fit what says where, find their scale, hold them against masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.config import digest
from irp_core.data.manifest import testing_rows, training_rows
from irp_core.detectors import detector_class
from irp_core.detectors.protocol import ScoreGradient
from irp_core.features.pipeline import StoredFeatures
from irp_core.refinement.scoring import localiser_name, most_mapped, needs_of
from irp_core.results.localising import fit_localiser, measure_maps
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import read_maps, write_maps
from tasks.fetch.weights import resolve_weights

__all__ = ["localise"]


@task(task_run_name="localise", cache_policy=NO_CACHE)
def localise(run_path: str, iteration: int, features: StoredFeatures) -> dict[str, Any] | None:
    """Step `localise` of a run (`irp_core.results.localising`): `detector`, `scale` and `metrics`.

    The last is None where no test image has a mask. None where no maps are asked for, or too few images are left.
    """
    run = RunDirectory(Path(run_path))
    params, name = run.params(), localiser_name(run.params())
    if name is None or len(set(run.groups(run.training_set(iteration)))) < 2:
        return None
    settings = [params.localisation, params.patch_gaussian, params.patch_knn, params.operating, params.images.pixels()]
    local = {need: features.local[need] for need in needs_of([name])}
    tested = testing_rows(run.manifest())[["image_id", "md5", "label", "mask_path"]].astype(str).to_dict("list")
    most = most_mapped(params)
    drawn = [most] if training_rows(run.manifest())["md5"].nunique() > most else []
    key = digest("localise", run.key("train", iteration), name, *settings, local, tested, params.run.seed, *drawn)

    def make(folder: Path) -> None:
        # A gradient alone needs the network again; everything else is in the store.
        weights = resolve_weights(params.features) if issubclass(detector_class(name), ScoreGradient) else None
        found = fit_localiser(run, iteration, features, folder, weights)
        assert found is not None
        detector = run.step("train", iteration) if name == params.detector.name else folder
        metrics = measure_maps(run, detector, name, features, float(found["scale"]["threshold"]), weights)
        write_maps(folder, {**found, "metrics": None if metrics is None else metrics.plain()})

    with run.timed("localise"):
        return read_maps(run.do("localise", None, key, make))
