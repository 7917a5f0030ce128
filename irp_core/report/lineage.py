"""What a report says of a run's origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from irp_core.data.manifest import set_digest
from irp_core.run.directory import RunDirectory

__all__ = ["Lineage", "of_folder"]


@dataclass(frozen=True)
class Lineage:
    """Where a run comes from.

    Attributes:
        origin: digests, versions and ids by name; None where there is none.
        models: of each model `irp.iteration`, `irp.set_sha256` and, where they are known, `irp.dvc_md5`,
            `irp.dvc_file`, `irp.weights_sha256`.
    """

    origin: Mapping[str, str | None]
    models: Sequence[Mapping[str, str]]


def of_folder(run: RunDirectory) -> Lineage:
    """What the run's folder alone tells of its origin."""
    record = run.record()
    origin = {
        "manifest sha256": record["manifest_sha256"],
        "features": run.features()["fingerprint"],
        "code": f"irp {record['version']}",
    }
    iterations = range(run.summary()["iterations"] + 1)
    return Lineage(
        origin, [{"irp.iteration": str(k), "irp.set_sha256": set_digest(run.training_set(k))} for k in iterations]
    )
