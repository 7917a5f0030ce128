"""Scan an entity once, and write its contaminated manifest for every noise level and seed."""

from __future__ import annotations

from flows.paper.places import prepared, raw, scanned
from irp_core.atomic import atomic_directory
from irp_core.config import Params
from irp_core.data.contamination import contaminate
from irp_core.data.scan import scan
from irp_core.run.prepared import PreparedSet
from tasks.runtime.progress import bar

__all__ = ["prepare_entity"]


def prepare_entity(entity: str, params: Params) -> None:
    """Write `images/` (all readable images, the quarantine, the copies) and `<level>/seed-<seed>/manifest.parquet`.

    All levels get sets of one size, that of `sweep.max_level`: AUROC then differs by what is in them, not by how much.
    """
    sweep = params.sweep
    with bar("Reading images") as advance:
        found = scan(
            raw(entity),
            params.dataset.layout,
            good_names=params.dataset.good_names,
            copies_from=None,  # the paper's protocol knows copies of equal bytes only
            images=params.images,
            workers=params.features.workers,
            progress=advance,
        )
    top = scanned(entity).parent
    with atomic_directory(top) as folder:
        images = PreparedSet(folder / scanned(entity).name)
        images.write_manifest(found.manifest)
        images.write_found(found)
        for level in sweep.levels:
            noise = sweep.contamination_at(level, params.contamination)
            for seed in sweep.seeds:
                manifest = contaminate(found.manifest, params.dataset, noise, seed=seed)
                PreparedSet(folder / prepared(entity, level, seed).relative_to(top)).write_manifest(manifest)
    print(f"{entity}: {len(found.manifest)} images (layout {found.layout}), {len(found.quarantine)} unreadable")
