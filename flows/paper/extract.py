"""Push every image of an entity through the network once; all levels, seeds and methods read the result."""

from __future__ import annotations

from flows.paper.places import features, raw, scanned
from irp_core.atomic import atomic_directory
from irp_core.config import DetectorParams, Params
from irp_core.features.feature_set import Local
from irp_core.features.store import FeatureStore
from irp_core.refinement.scoring import local_needed
from irp_core.run.prepared import PreparedSet
from tasks.runtime.progress import bar
from tasks.steps.extract import open_pipeline

__all__ = ["extract_entity"]

_AT_ONCE = 1024  # images, of the rows that are copied


def extract_entity(entity: str, params: Params) -> None:
    """Fill the shared store (`features.store`), then write the entity's rows as a store of its own.

    The shared store spares what any earlier run extracted, and keeps what is done when this one is killed; the
    entity's own has its rows in the order of their md5, so that the same images give the same bytes.
    """
    rows = PreparedSet(scanned(entity)).manifest()[["image_id", "md5"]]
    pipeline = open_pipeline(params, _local_needed(params))
    use = pipeline.fill(rows, raw(entity), entity, bar)
    stored = pipeline.stored
    md5s = sorted(set(rows["md5"]))
    with atomic_directory(features(entity)) as folder:
        for spec, views in ((stored.spec, params.views.bank), *((own, 1) for own in stored.local.values())):
            shared, own = stored.store(spec), FeatureStore(folder, spec)
            for start in range(0, len(md5s), _AT_ONCE):
                part = md5s[start : start + _AT_ONCE]
                found = shared.get(part, views)
                own.append([(md5, view) for md5 in part for view in range(views)], found.reshape(-1, found.shape[2]))
    print(f"{entity}: features of {use.hits + use.misses} images, {use.misses} of them new")


def _local_needed(params: Params) -> list[Local]:
    """The local features that any method of the sweep reads."""
    # A cell's runs keep tables only: nobody asks of them where a defect is.
    tables = params.run.model_copy(update={"outputs": "tables"})
    trained = params.model_copy(update={"detector": DetectorParams(name=params.sweep.detector), "run": tables})
    methods = (params.refinement.model_copy(update={"method": method}) for method in params.sweep.methods)
    return sorted(
        {need for refinement in methods for need in local_needed(trained.model_copy(update={"refinement": refinement}))}
    )
