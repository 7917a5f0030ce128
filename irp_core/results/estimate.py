"""About how long a run will take in all, from what an earlier run of the same kind took on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from irp_core.config import Params
from irp_core.data.manifest import training_rows
from irp_core.errors import InputError
from irp_core.run.directory import RunDirectory, list_runs

__all__ = ["Estimate", "estimate"]

_FIXED = ("prefect", "start")  # what does not grow with the images
_EXTRACT = "extract"


@dataclass(frozen=True)
class Estimate:
    """Seconds in all, and the run that they are taken from."""

    seconds: float
    run_id: str

    def __str__(self) -> str:
        """As a person reads it.

        Example:
            >>> print(Estimate(94.0, "plate-careful-4f21aa00"))
            About 2 min in all, as plate-careful-4f21aa00 took.
        """
        long = f"{self.seconds / 60:.0f} min" if self.seconds > 90 else f"{self.seconds:.0f} s"
        return f"About {long} in all, as {self.run_id} took."


def estimate(run: RunDirectory) -> Estimate | None:
    """What `run` will take, from the newest finished run beside it of the same kind; None where there is none.

    The stages of that run grow with the number of training images; the network's part with the images that it did not
    see yet. The kind is the method, the detector, the size of the images and the network.
    """
    rows = training_rows(run.manifest())
    for other in list_runs(run.path.parent):
        try:
            if other.run_id == run.run_id or not other.has_results() or _kind(other.params()) != _kind(run.params()):
                continue
            before = training_rows(other.manifest())
            times = other.timings()
            passed = sum(split["misses"] for split in other.features().values() if isinstance(split, dict))
        except (InputError, OSError):  # a damaged run tells nothing
            continue
        new = int((~rows["md5"].isin(before["md5"])).sum())
        if not times or (new and not passed):
            continue
        extract = times.pop(_EXTRACT, 0.0) * new / passed if passed else 0.0
        fixed = sum(times.pop(stage, 0.0) for stage in _FIXED)
        return Estimate(fixed + extract + sum(times.values()) * len(rows) / len(before), other.run_id)
    return None


def _kind(params: Params) -> tuple[object, ...]:
    return (
        params.refinement.method,
        params.detector.name,
        params.images.size,
        params.features.backbone,
        params.run.orchestrate,
    )
