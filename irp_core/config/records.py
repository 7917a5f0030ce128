"""Where a run leaves what it made: tracking, snapshots, run directories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from irp_core.config.base import Positive, Section, Seed

__all__ = ["Retention", "Run", "Runtime", "Snapshots", "Tracking"]


class Tracking(Section):
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "irp"
    keep_weights: Literal["all", "first_and_last", "last"] = "first_and_last"
    registered_model: str | None = None


class Snapshots(Section):
    enabled: bool = True
    directory: str = "snapshots"
    link: Literal["auto", "hardlink", "copy"] = "auto"


class Run(Section):
    seed: Seed = 0
    directory: str = "runs"
    outputs: Literal["full", "tables"] = "full"
    orchestrate: bool = True


class Runtime(Section):
    """On what a run's work is done; changes no number of a result."""

    cluster: Annotated[str, Field(pattern=r"^(local|(tcp|tls|ws|wss)://\S+)$")] | None = None
    shard: Positive = 2000
    store_cache: str = ".irp/store-cache"
    store_cache_bytes: Positive = 20 * 10**9


class Retention(Section):
    """What `irp gc` leaves. What a registered version, a rollback, an open review or an audit needs stays anyway."""

    run_days: Positive = 30
    keep_runs: Positive = 5
    weights_days: Positive = 90
    keep_versions: Positive = 10
    line_days: Positive | None = None
    cache_bytes: Positive | None = None
    store_bytes: Positive | None = None
