"""What a run began with, held against the digests in its record before anybody goes on with it."""

from __future__ import annotations

from collections.abc import Collection

from irp_core.data.manifest import manifest_digest
from irp_core.detectors import DETECTORS
from irp_core.errors import InputError
from irp_core.refinement.policy import policy_of
from irp_core.refinement.scoring import scorers
from irp_core.run.directory import RunDirectory
from irp_core.run.files import DECISIONS, MANIFEST, RECORD
from irp_core.run.inputs import is_sealed
from irp_core.run.prepared import PreparedSet

__all__ = ["check_begun"]


def check_begun(run: RunDirectory, allow: Collection[str] = ()) -> None:
    """Refuse to go on with a run whose beginning is not what it was: its results would be another run's.

    Args:
        allow: detectors of other packages that may be imported; a run's folder may be somebody else's.

    Raises:
        InputError: a detector that is not allowed, or the record, the manifest, the tables
            beside it (near-copies …) or the standing decisions were changed.
            (Records of irp up to 0.7 have no digests of themselves and of the decisions.)
    """
    record = run.record()
    if not is_sealed(record):
        raise _changed(run, RECORD)
    if "manifest_sha256" in record and manifest_digest(run.manifest()) != record["manifest_sha256"]:
        raise _changed(run, MANIFEST)
    if "decisions_sha256" in record and run.decisions_sha256() != record["decisions_sha256"]:
        raise _changed(run, DECISIONS)
    tables = PreparedSet(run.path).table_digests()
    for name, sha256 in record.get("prepared_sha256", {}).items():  # irp up to 0.13 noted none
        if tables.get(name) != sha256:
            raise _changed(run, name)
    params = run.params()
    named = {params.detector.name, *scorers(policy_of(params.refinement), params)}
    if foreign := sorted(named - set(DETECTORS) - set(allow)):
        raise InputError(
            f"{run.path / RECORD}: names the detector {foreign[0]!r}, whose code is another package's; if you trust "
            f"it, allow it by name (--allow-detector {foreign[0]})."
        )


def _changed(run: RunDirectory, name: str) -> InputError:
    return InputError(
        f"{run.path / name}: was changed since the run began; the command that began it (irp refine DATA with the same "
        "parameters) writes it again and goes on."
    )
