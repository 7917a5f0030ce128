"""Push every image of an entity through the network once; all levels, seeds and methods read the result."""

from __future__ import annotations

from pathlib import Path

from flows.paper.places import features, raw, scanned
from irp_core.atomic import atomic_directory
from irp_core.config import Params
from irp_core.features import extract, patch_spec
from irp_core.manifest import read_manifest
from irp_core.store import FeatureStore
from tasks.extraction import extract_patches, open_extractor, patches_needed
from tasks.progress import bar

__all__ = ["extract_entity"]


def extract_entity(entity: str, params: Params) -> None:
    """Fill the shared store (`features.store`), then write the entity's rows as a store of its own.

    The shared store spares what any earlier run extracted, and keeps what is done when this one is killed; the
    entity's own is one segment under a fixed name, so that the same images give the same bytes.
    """
    rows = read_manifest(scanned(entity) / "manifest.parquet")[["image_id", "md5"]]
    extractor, spec = open_extractor(params)
    shared = FeatureStore(Path(params.features.store), spec)
    with bar(f"Extracting features ({entity})") as advance:
        use = extract(rows, raw(entity), shared, extractor, params, progress=advance)
    patched = patch_spec(spec, params) if _patches_needed(params) else None
    if patched is not None:
        patches = extract_patches(rows, raw(entity), extractor, patched, params, entity)
    md5s = sorted(set(rows["md5"]))
    views = shared.get(md5s, params.views.bank)
    keys = [(md5, view) for md5 in md5s for view in range(params.views.bank)]
    with atomic_directory(features(entity)) as folder:
        FeatureStore(folder, spec).append(keys, views.reshape(len(keys), -1), name="features")
        if patched is not None:
            rows_of_patches = patches.get(md5s, 1)[:, 0]
            FeatureStore(folder, patched).append([(md5, 0) for md5 in md5s], rows_of_patches, name="features")
    print(f"{entity}: features of {use.hits + use.misses} images, {use.misses} of them new")


def _patches_needed(params: Params) -> bool:
    """Whether any method of the sweep reads patches."""
    methods = (params.refinement.model_copy(update={"method": method}) for method in params.sweep.methods)
    return any(patches_needed(params.model_copy(update={"refinement": refinement})) for refinement in methods)
