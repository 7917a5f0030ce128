"""Extraction on a cluster gives the rows of one process; what is wrong with a cluster is one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from irp_core.config import Params, Runtime
from irp_core.data.manifest import training_rows
from irp_core.data.scan import scan
from irp_core.errors import InputError
from irp_core.features.pipeline import FeaturePipeline
from irp_core.refinement.scoring import local_needed
from tasks.runtime import cluster
from tasks.steps.extract import _fill_on_cluster


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a real scheduler with two workers, which are threads: processes take seconds to import torch."""
    from dask.distributed import LocalCluster

    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "protocol": "tcp"}
    with LocalCluster(**workers, dashboard_address=None) as here:
        yield here.scheduler_address


def test_a_cluster_fills_the_store_with_the_rows_of_one_process(
    scheduler: str, tiny: Params, plant: Path, tmp_path: Path
) -> None:
    def params(store: str) -> Params:
        features = tiny.features.model_copy(update={"store": str(tmp_path / store)})
        return tiny.model_copy(update={"features": features, "runtime": Runtime(cluster=scheduler, shard=5)})

    rows = training_rows(scan(plant).manifest).head(12)
    some = {"cells": frozenset(sorted(rows["md5"])[:4])}
    assert _fill_on_cluster(params("many"), rows, plant, "train", some) == 12
    alone, many = (FeaturePipeline(params(name), None, local_needed(tiny)) for name in ("alone", "many"))
    assert many.fill(rows, plant, "train", only=some).misses == 0
    alone.fill(rows, plant, "train", only=some)
    for name in ("pooled", *local_needed(tiny)):
        of = rows[rows["md5"].isin(list(some.get(name, rows["md5"])))]
        views = tiny.views.bank if name == "pooled" else 1
        ours, theirs = (one._stores[name].get(of["md5"].tolist(), views) for one in (many, alone))
        assert np.array_equal(ours, theirs)


def test_a_shard_that_fails_says_why(scheduler: str) -> None:
    with pytest.raises(InputError, match="plate 3 is bent"):
        list(cluster.over_shards(scheduler, _bent, [1, 2, 3], torch.get_num_threads()))


def _bent(number: int) -> int:
    if number == 3:
        raise InputError("plate 3 is bent")
    return number


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_WAIT", 0.3)
    with pytest.raises(InputError, match=r"expected a Dask scheduler at tcp://127\.0\.0\.1:9, found none"):
        list(cluster.over_shards("tcp://127.0.0.1:9", _bent, [1], 1))


def test_a_cluster_is_local_or_an_address() -> None:
    with pytest.raises(ValueError, match="cluster"):
        Runtime(cluster="dask")
