"""Sets that do not fit in memory: read from the store block by block, with the scores that they have in memory."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from irp_core.config import CellVotesParams, DifferNetParams, Params, Training
from irp_core.detectors import DETECTORS, CellVotes, DifferNet, Localises, normalizing_flow
from irp_core.detectors.cells import cell_votes, patch_gaussian
from irp_core.detectors.folds import assign_folds, contents_of, drawn, fold_by_fold, score_in_parts
from irp_core.detectors.gaussian import Gaussian
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.features import feature_set, pipeline
from irp_core.features.extraction import Feature
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.pipeline import StoredFeatures, StoredSet
from irp_core.features.store import FeatureStore
from irp_core.refinement.careful import landscape as landscape_module
from irp_core.refinement.careful.landscape import landscape
from irp_core.refinement.policy import policy_of
from irp_core.refinement.scoring import score_by_policy

IMAGES = 70
CPU = torch.device("cpu")
SHAPES: dict[Local, tuple[int, ...]] = {"patches": (4, 6), "kurtosis": (5,), "cells": (2, 2, 3)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredFeatures:
    root = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    specs: dict[Local, dict[str, Any]] = {name: {"of": name} for name in SHAPES}
    specs["cells"]["dtype"] = "float16"
    pooled = FeatureStore(root, {"of": "pooled"})
    names = md5s()
    pooled.append([(md5, view) for md5 in names for view in range(2)], rng.normal(3, 2, (2 * IMAGES, 12)))
    for name, shape in SHAPES.items():
        FeatureStore(root, specs[name]).append([(md5, 0) for md5 in names], rng.normal(1, 1, (IMAGES, np.prod(shape))))
    return StoredFeatures(str(root), {"of": "pooled"}, pooled.fingerprint, specs, SHAPES)


def md5s() -> list[str]:
    return [f"{number * 7919 % 256:02x}{number:030x}" for number in range(IMAGES)]


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootstrap of `consensus` takes seconds, and sees scores alone."""
    monkeypatch.setattr("irp_core.detectors.local.resampled_shares", lambda scores, seed: [float(scores.std())])


def both(stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch) -> tuple[FeatureSet, FeatureSet]:
    """The same set in memory, and in the store with blocks of 512 and 64 images' fractions."""
    rows = pd.DataFrame({"md5": md5s()})
    held = stored.read(rows, 2, list(SHAPES))
    monkeypatch.setattr(pipeline, "_IN_MEMORY", 0)
    kept = stored.read(rows, 2, list(SHAPES))
    assert type(held) is FeatureSet
    assert isinstance(kept, StoredSet)
    return held, kept


def test_a_set_in_the_store_is_the_set_in_memory(stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    held, kept = both(stored, monkeypatch)
    chosen = np.array([5, 3, 60])
    for one, other in ((held, kept), (held[chosen], kept[chosen]), (held.first_views(1), kept.first_views(1))):
        assert len(one) == len(other)
        for name in ("pooled", *SHAPES):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert kept.dimensions == held.dimensions == 12
    assert kept.cells is not None
    assert kept.cells.dtype == np.float16
    kept.check("test", ("patches", "kurtosis"))
    rows = pd.DataFrame({"md5": md5s()})
    without = stored.read(rows, 2, [])
    assert without.patches is None
    with pytest.raises(ValueError, match="patches"):
        without.check("test", ("patches",))
    with pytest.raises(ValueError, match="0 images"):
        kept[slice(0, 0)].check("test")


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_detector_scores_it_as_in_memory(
    name: str, stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, kept = both(stored, monkeypatch)
    params = Params.model_validate({"differnet": {"blocks": 1, "hidden": 4}})
    scores = []
    for features in (held, kept):
        detector = DETECTORS[name].build(features, params, CPU)
        detector.fit(features, epochs=1, seed=0)
        scores.append(detector.score(features))
    assert scores[0].tolist() == scores[1].tolist()


class OtherProcesses:
    """Nothing but what was pickled reaches them."""

    shard = 16

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def each(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        for one in arguments:
            there, received = pickle.loads(pickle.dumps((function, one)))  # noqa: S301 - its own
            self.sizes.append(len(received[0]))
            yield there(*received)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_other_processes_score_parts_of_it_as_one_does_all(
    name: str, stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, kept = both(stored, monkeypatch)
    others = OtherProcesses()
    spread = replace(stored, spread=others).read(pd.DataFrame({"md5": md5s()}), 2, list(SHAPES))
    params = Params.model_validate({"differnet": {"blocks": 1, "hidden": 4}, "training": {"epochs": 1}})
    contents = [f"{number // 2}" for number in range(IMAGES)]  # each image has a copy

    def scored(features: FeatureSet) -> tuple[list[float], list[float]]:
        detector = DETECTORS[name].build(features, params, CPU)
        detector.fit(features, epochs=1, seed=0)
        inside = np.arange(IMAGES) != 3
        unseen = out_of_fold_scores(
            lambda: DETECTORS[name].build(features, params, CPU),
            features, contents, inside=inside, folds=2, epochs=1, seed=1,
        )  # fmt: skip
        return score_in_parts(detector, features).tolist(), unseen.scores.tolist()

    assert scored(spread) == scored(kept)
    assert max(others.sizes) == 16
    assert sum(others.sizes) >= IMAGES


def test_a_flow_trains_on_a_sample_and_reports_the_loss_on_the_others(
    stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held, kept = both(stored, monkeypatch)
    training = Training(sample=40, batch_size=16)
    chosen = drawn(contents_of(held), np.arange(IMAGES), 40)

    def flow() -> DifferNet:
        return DifferNet(12, DifferNetParams(blocks=1, hidden=4), training, CPU)

    alone = flow()
    alone.fit(held[chosen], epochs=2, seed=0)
    assert not caplog.records
    with caplog.at_level(logging.INFO):
        sampled = flow()
        sampled.fit(kept, epochs=2, seed=0)
    assert sampled.score(held).tolist() == alone.score(held).tolist()
    assert "trained on 40 of 70 images: loss " in caplog.text
    ours, others = (float(number.strip(",")) for number in re.findall(r"-?[\d.]+,|-?[\d.]+$", caplog.messages[0]))
    assert ours != others
    folds = assign_folds(md5s(), np.arange(IMAGES) != 3, 2, seed=1)
    training = Training(sample=20, batch_size=16)
    one_by_one = fold_by_fold(flow, held, folds, epochs=2, seed=0)
    np.testing.assert_allclose(flow().score_out_of_fold(kept, folds, epochs=2, seed=0), one_by_one, rtol=1e-4)


def test_views_that_do_not_fit_into_memory_are_mapped(stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    held, kept = both(stored, monkeypatch)
    scores = []
    for bound in (normalizing_flow.IN_MEMORY, 0):
        monkeypatch.setattr(normalizing_flow, "IN_MEMORY", bound)
        monkeypatch.setattr(normalizing_flow, "_VIEWS", 50)
        flow = DifferNet(12, DifferNetParams(blocks=1, hidden=4), Training(), CPU)
        flow.fit(kept, epochs=2, seed=0)
        scores.append(flow.score(held))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_a_full_disk_is_said_before_views_are_mapped(stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, start: int, size: int) -> None:
        assert (start, size) == (0, IMAGES * 2 * 12 * 4)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(normalizing_flow, "IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*irp-views-"):
        DifferNet(12, DifferNetParams(), Training(), CPU).fit(both(stored, monkeypatch)[1], epochs=1, seed=0)


def test_cells_that_vote_are_read_a_few_images_at_a_time(
    stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, kept = both(stored, monkeypatch)
    monkeypatch.setattr(cell_votes, "_AT_ONCE", 8)
    read: list[int] = []
    whole = StoredSet._read

    def counted(self: StoredSet, name: Feature) -> Any:
        if name == "cells":
            read.append(len(self))
        return whole(self, name)

    monkeypatch.setattr(StoredSet, "_read", counted)
    params = CellVotesParams(bank=12)
    detectors = [CellVotes(params, CPU) for _ in range(2)]
    for detector, features in zip(detectors, (held, kept), strict=True):
        detector.fit(features)
    assert detectors[0].score(held).tolist() == detectors[1].score(kept).tolist()
    assert detectors[1].maps(kept).shape == (IMAGES, 2, 2)
    assert max(read) == 12  # the bank


@pytest.mark.parametrize("name", ["ensemble", "patch_gaussian"])
def test_positions_are_fitted_on_a_bounded_draw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(60, 2, 2, 3)).astype(np.float16)
    features = FeatureSet(rng.normal(size=(60, 1, 4)).astype(np.float32), cells=cells)
    whole = DETECTORS[name].build(features, Params(), CPU)
    whole.fit(features, epochs=1, seed=3)
    monkeypatch.setattr(patch_gaussian, "_MOST", 40)
    some = patch_gaussian.sample_of(features)
    assert len(some) == len(np.unique(some.pooled, axis=0)) == 40
    on_all, on_some = (DETECTORS[name].build(features, Params(), CPU) for _ in range(2))
    on_all.fit(features, epochs=1, seed=3)
    on_some.fit(some, epochs=1, seed=3)
    found = [one.maps(features) for one in (whole, on_all, on_some) if isinstance(one, Localises)]
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("name", ["ensemble", "patch_gaussian", "cell_votes"])
def test_cells_that_are_there_of_some_images_are_all_that_is_read(
    name: str, stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_ones, read = frozenset(sorted(md5s())[:30]), []
    whole = FeatureStore.get

    def counted(self: FeatureStore, of: Sequence[str], views: int) -> Any:
        if self.fingerprint == stored.store(stored.local["cells"]).fingerprint:
            read.extend(of)
        return whole(self, of, views)

    monkeypatch.setattr(FeatureStore, "get", counted)
    rows = pd.DataFrame({"md5": md5s()})
    others = OtherProcesses()
    features = replace(stored, spread=others).read(rows, 2, list(SHAPES), {"cells": drawn_ones})
    inside = np.arange(IMAGES) != 3
    detector = DETECTORS[name].build(features, Params(), CPU)
    detector.fit(features[inside], epochs=1, seed=0)
    assert read
    assert set(read) <= drawn_ones
    some = rows[inside & rows["md5"].isin(drawn_ones).to_numpy()]
    assert features[inside].having(("cells",)).pooled.tolist() == stored.read(some, 2).pooled.tolist()
    assert len(features.having(("patches",))) == IMAGES
    assert sum(features.each_part(_with_cells)) == len(drawn_ones)


def _with_cells(part: FeatureSet) -> int:
    return len(part.having(("cells",)))


def test_blocks_change_nothing_but_the_last_digits(stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    held, kept = both(stored, monkeypatch)
    whole = Gaussian(CPU)
    whole.fit(held)
    monkeypatch.setattr(feature_set, "BLOCK", 16)
    monkeypatch.setattr("irp_core.detectors.gaussian.BLOCK", 16)
    parts = Gaussian(CPU)
    parts.fit(kept)
    np.testing.assert_allclose(parts.score(kept), whole.score(held), rtol=1e-9)
    backwards = Gaussian(CPU)
    backwards.fit(kept[np.arange(IMAGES)[::-1]])
    np.testing.assert_allclose(backwards.score(held), whole.score(held), rtol=1e-9)
    folds = assign_folds(md5s(), np.arange(IMAGES) != 3, 5, seed=1)
    one_by_one = fold_by_fold(lambda: Gaussian(CPU), held, folds, epochs=1, seed=0)
    np.testing.assert_allclose(parts.score_out_of_fold(kept, folds), one_by_one, rtol=1e-9)


def test_the_careful_scores_are_those_in_memory(stored: StoredFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    held, kept = both(stored, monkeypatch)
    params, names = Params(), md5s()
    policy = policy_of(params.refinement)

    def scored(features: FeatureSet) -> np.ndarray:
        found = score_by_policy(features, names, np.ones(IMAGES, dtype=bool), 0, policy, params, pytest.fail)
        return found.scores

    assert scored(held).tolist() == scored(kept).tolist()


def test_a_large_landscape_is_the_small_one_but_for_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 8)) @ rng.normal(size=(8, 8)) + 50
    scores, contents = rng.uniform(1, 2, (300, 2)), [f"{number:032x}" for number in range(300)]
    small = landscape(scores, values, contents)
    monkeypatch.setattr(landscape_module, "_MANY", 299)
    large = landscape(scores, lambda images: np.array_split(values[images], 7), contents)
    np.testing.assert_allclose(np.abs(large.components), np.abs(small.components), rtol=1e-6, atol=1e-9)
    assert large.neighbours.shape == small.neighbours.shape
    assert not (large.neighbours == np.arange(300)[:, None]).any()
    assert np.mean(large.neighbours == small.neighbours) > 0.9  # 299 of 300 are compared with
    assert large.of_table(large.table(contents), contents).neighbours.tolist() == large.neighbours.tolist()
