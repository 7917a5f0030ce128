"""The inventory of everything that may be deleted one day, and the deletion of what a plan names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.features.stores.sizes import drop_store, store_sizes
from irp_core.retention import Item
from tasks.retention.lines import delete_of_line, held_versions, line_items
from tasks.retention.runs import delete_run, run_items
from tasks.retention.weights import delete_weights, weight_items
from tasks.tracking.queries import client_of, experiments, registered_versions, runs_tagged
from tasks.versions.cache import cached_images, delete_cached

__all__ = ["delete", "inventory"]

_RECENT = 86400.0  # seconds: one run writes the rows of several extractors


def inventory(params: Params) -> list[Item]:
    """Run folders, weights in the tracking store, features, what lines keep, and images in DVC's cache, each with why
    it is needed.

    Raises:
        InputError: the tracking store cannot be opened.
    """
    client = client_of(params)
    registered = registered_versions(client)
    in_service = {run: names for run, names in registered.items() if any("@" in name for name in names)}
    items = [
        *run_items(params, client, in_service),
        *weight_items(client, held_versions(client, registered, params.retention.keep_versions)),
        *_feature_items(Path(params.local_store)),
        *line_items(client),
    ]
    if not params.snapshots.enabled:
        return items
    try:
        images = cached_images(Path(params.snapshots.directory), _sets_of(client, in_service))
    except InputError as error:  # no repository here
        logging.getLogger(__name__).warning("DVC's cache is left alone: %s", error)
        return items
    return items + [Item("cache", image.md5, image.bytes, image.since, needed=image.needed) for image in images]


def _feature_items(root: Path) -> list[Item]:
    """The rows of each extractor; the latest stay, whatever the bound: the next run reads them."""
    sizes = store_sizes(root)
    last = max((size.since for size in sizes), default=0.0)
    return [
        Item(
            "features",
            size.fingerprint,
            size.bytes,
            size.since,
            needed="the latest runs read them" if last - size.since < _RECENT else None,
        )
        for size in sizes
    ]


def _sets_of(client: MlflowClient, in_service: Mapping[str, list[str]]) -> dict[str, str]:
    """The DVC versions that models in service were trained on, with all that were cut on the way there."""
    known = experiments(client)
    return {
        model.data.tags["irp.dvc_md5"]: f"{names[0]} was trained on it"
        for run, names in in_service.items()
        for model in runs_tagged(client, known, {"mlflow.parentRunId": run})
        if "irp.dvc_md5" in model.data.tags
    }


def delete(made: pd.DataFrame, params: Params) -> list[str]:
    """Delete what a plan names; returns what could not be deleted, a sentence each. One failure stops no other."""
    client = client_of(params)
    problems = []
    going = made[made["delete"]]
    for kind, name in zip(going["kind"], going["name"], strict=True):
        try:
            if kind == "run":
                delete_run(params, name)
            elif kind == "weights":
                delete_weights(client, name)
            elif kind == "features":
                drop_store(Path(params.local_store), name)
            elif kind in ("image", "round"):
                delete_of_line(kind, name)
        except Exception as error:  # a share or a server that blinked: the next time it is tried again
            problems.append(f"{kind} {name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    try:
        delete_cached(going.loc[going["kind"] == "cache", "name"])
    except (InputError, OSError) as error:
        problems.append(f"DVC's cache: {error}")
    return problems
