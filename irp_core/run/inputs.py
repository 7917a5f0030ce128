"""What a run was asked to do besides its parameters: all of it is in `run.json`, so that resuming changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from irp_core.config import digest

__all__ = ["RunInputs", "is_sealed", "sealed_record"]

_SEAL = "record_sha256"


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run that are no parameters.

    Attributes:
        total_epochs: epochs of the first training, for the control `equal_epochs`.
        random_counts: removals per iteration, for the control `random`.
        operating: whether the operating threshold is found, which trains the detector on `operating.folds` folds more.
        share_with: a finished run whose pre-trained detector may be taken over, relative to the folder that holds the
            run: a sibling's id.
        manifest: folder of a prepared data set that was named instead of scanning the images.
        decisions: file of reviewers' decisions that was named besides `review.decisions`.
    """

    total_epochs: int | None = None
    random_counts: tuple[int, ...] = ()
    operating: bool = True
    share_with: str | None = None
    manifest: str | None = None
    decisions: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RunInputs:
        """The inputs in a run's record; a key that an older record lacks has its default."""
        known = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        return cls(**{**known, "random_counts": tuple(known.get("random_counts", ()))})

    def plain(self) -> dict[str, Any]:
        """As `of` reads them."""
        return {**asdict(self), "random_counts": list(self.random_counts)}


def sealed_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with a digest of everything in it."""
    plain = {key: value for key, value in record.items() if key != _SEAL}
    return {**plain, _SEAL: digest(plain)}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether the record is as it was written; one of irp up to 0.7 holds no digest, and passes."""
    return _SEAL not in record or sealed_record(record) == record
