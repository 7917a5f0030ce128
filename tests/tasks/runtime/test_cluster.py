"""Extraction and scores on a cluster are those of one process; what is wrong with a cluster is one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch

from irp_core.config import Params, Runtime
from irp_core.data.manifest import training_rows
from irp_core.data.scan import scan
from irp_core.detectors import detector_class
from irp_core.detectors.folds import score_in_parts
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.errors import InputError
from irp_core.features.feature_set import Local
from irp_core.features.pipeline import FeaturePipeline, StoredFeatures
from irp_core.features.store import FeatureStore
from irp_core.refinement import scoring
from irp_core.refinement.policy import policy_of
from irp_core.refinement.scoring import Scored, local_needed, only_of, score_by_policy
from tasks.runtime import cluster
from tasks.runtime.cluster import Workers, on_workers
from tasks.steps.extract import _fill_on_cluster
from tests.tasks.runtime.killed import KilledOnce


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a real scheduler with two workers, which are threads: processes take seconds to import torch."""
    from dask.distributed import LocalCluster

    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "protocol": "tcp"}
    with LocalCluster(**workers, dashboard_address="127.0.0.1:0") as here:
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


def test_a_cluster_scores_as_one_process_does(scheduler: str, tmp_path: Path) -> None:
    """The default's votes, folds and landscape."""
    params = Params(runtime=Runtime(cluster=scheduler, shard=7))
    stored, md5s = _made_up(tmp_path)

    def scored(features: StoredFeatures) -> Scored:
        read = features.read(pd.DataFrame({"md5": md5s}), 2, ["kurtosis", "patches"])
        everything = np.ones(len(md5s), dtype=bool)
        return score_by_policy(read, md5s, everything, 0, policy_of(params.refinement), params, pytest.fail)

    with on_workers(stored, params) as spread:
        assert spread.spread is not None
        many = scored(spread)
    alone = scored(stored)
    assert many.scores.tolist() == alone.scores.tolist()
    assert many.landscape is not None
    assert alone.landscape is not None
    assert many.landscape.table(md5s).equals(alone.landscape.table(md5s))


def test_a_cluster_scores_a_set_of_which_some_images_have_cells(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default's final detector, of a set larger than what cells are extracted of."""
    monkeypatch.setattr(scoring, "MAPPED", 20)
    params = Params(runtime=Runtime(cluster=scheduler, shard=7))
    stored, md5s = _made_up(tmp_path)
    only = only_of(params, md5s)
    drawn = sorted(only["cells"])
    assert len(drawn) == 20
    rng = np.random.default_rng(1)
    cells = rng.normal(1, 1, (20, 3 * 3 * 4)).astype(np.float16)
    FeatureStore(tmp_path, {"of": "cells", "dtype": "float16"}).append([(md5, 0) for md5 in drawn], cells)
    stored.local["cells"], stored.shapes["cells"] = {"of": "cells", "dtype": "float16"}, (3, 3, 4)

    def fitted(features: StoredFeatures) -> tuple[list[float], list[float]]:
        everything = features.read(pd.DataFrame({"md5": md5s}), 2, ["cells"], only)
        some = features.read(pd.DataFrame({"md5": drawn}), 2, ["cells"], only)
        build = partial(detector_class("ensemble").build, everything, params, torch.device("cpu"))
        detector = build()
        detector.fit(everything, epochs=1, seed=0)
        held_out = out_of_fold_scores(build, some, drawn, folds=4, epochs=1, seed=0)
        return score_in_parts(detector, some).tolist(), held_out.scores.tolist()

    with on_workers(stored, params) as spread:
        many = fitted(spread)
    assert many == fitted(stored)
    assert np.isfinite(many).all()


def test_a_killed_worker_costs_its_task_only(tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as here,
        Workers(here.scheduler_address, 1, 1) as workers,
    ):
        done = list(workers.each(KilledOnce(str(tmp_path), at=3), [(number,) for number in range(8)]))
    assert [square for square, _ in done] == [number**2 for number in range(8)]
    (killed,) = [int(file.name) for file in tmp_path.iterdir()]
    assert done[3][1] != killed


def _made_up(root: Path) -> tuple[StoredFeatures, list[str]]:
    """Features of forty images in a store."""
    rng = np.random.default_rng(0)
    md5s = [f"{number:032x}" for number in range(40)]
    shapes: dict[Local, tuple[int, ...]] = {"patches": (4, 6), "kurtosis": (5,)}
    pooled = FeatureStore(root, {"of": "pooled"})
    pooled.append([(md5, view) for md5 in md5s for view in range(2)], rng.normal(3, 2, (80, 12)))
    for name, shape in shapes.items():
        FeatureStore(root, {"of": name}).append([(md5, 0) for md5 in md5s], rng.normal(1, 1, (40, np.prod(shape))))
    specs: dict[Local, dict[str, Any]] = {name: {"of": name} for name in shapes}
    return StoredFeatures(str(root), {"of": "pooled"}, pooled.fingerprint, specs, shapes), md5s


def test_a_shard_that_fails_says_why(scheduler: str) -> None:
    with (
        pytest.raises(InputError, match="plate 3 is bent"),
        Workers(scheduler, torch.get_num_threads(), 1) as workers,
    ):
        list(workers.each(_bent, [(1,), (2,), (3,)]))


def _bent(number: int) -> int:
    if number == 3:
        raise InputError("plate 3 is bent")
    return number


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_WAIT", 0.3)
    with (
        pytest.raises(InputError, match=r"expected a Dask scheduler at tcp://127\.0\.0\.1:9, found none"),
        Workers("tcp://127.0.0.1:9", 1, 1) as workers,
    ):
        list(workers.each(_bent, [(1,)]))


@pytest.mark.parametrize(
    ("error", "said"), [(None, r"invalid address 'foo:bar:baz'.*"), (TimeoutError(), "TimeoutError")], ids=str
)
def test_an_address_that_is_none_is_named(error: Exception | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if error is not None:
        monkeypatch.setattr("dask.distributed.Client", Mock(side_effect=error))
    with (
        pytest.raises(InputError, match=rf"a Dask scheduler at tcp://foo:bar:baz, found none \({said}\)\.$"),
        Workers("tcp://foo:bar:baz", 1, 1) as workers,
    ):
        list(workers.each(_bent, [(1,)]))


def test_a_cluster_is_local_or_an_address() -> None:
    with pytest.raises(ValueError, match="cluster"):
        Runtime(cluster="dask")
