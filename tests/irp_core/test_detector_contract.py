"""What every detector must do, whichever it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from irp_core.atomic import write_json
from irp_core.config import DifferNetParams, Training
from irp_core.detectors import Detector, DifferNet, load_detector
from irp_core.errors import InputError

DIMENSIONS = 12


def make_differnet() -> Detector:
    return DifferNet(DIMENSIONS, DifferNetParams(blocks=2, hidden=16), Training(batch_size=16), torch.device("cpu"))


DETECTORS = [pytest.param(make_differnet, id="differnet")]


def features(images: int, seed: int, shift: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(shift, 1.0, (images, 3, DIMENSIONS)) * np.arange(1, DIMENSIONS + 1)
    return values.astype(np.float32)


@pytest.fixture(params=DETECTORS)
def fitted(request: pytest.FixtureRequest) -> Detector:
    detector: Detector = request.param()
    detector.fit(features(40, 0), epochs=5, seed=3)
    return detector


def test_scores_are_positive_and_rank_the_foreign_higher(fitted: Detector) -> None:
    normal, foreign = fitted.score(features(20, 1)), fitted.score(features(20, 2, shift=6.0))
    assert normal.shape == (20,)
    assert (normal > 0).all()
    assert foreign.min() > normal.max()


def test_an_image_scores_the_same_alone_and_in_any_order(fitted: Detector) -> None:
    batch = features(300, 4)
    together = fitted.score(batch)
    order = np.random.default_rng(0).permutation(300)
    assert (fitted.score(batch[order]) == together[order]).all()
    assert fitted.score(batch[7:8])[0] == together[7]


@pytest.mark.parametrize("make", DETECTORS)
def test_the_seed_decides_everything(make: type) -> None:
    scores = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(scores))  # the global generator must not matter
        detector = make()
        detector.fit(features(40, 0), epochs=2, seed=seed)
        scores.append(detector.score(features(10, 1)))
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != scores[2]).any()


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make_differnet().fit(features(10, 0), epochs=1, seed=9)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_saved_and_loaded_it_is_the_same(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert (load_detector(tmp_path).score(features(10, 1)) == fitted.score(features(10, 1))).all()
    assert not list(tmp_path.glob("*.p*"))  # no pickles


def test_a_warm_start_goes_on_from_the_loaded_weights(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = load_detector(tmp_path)
    losses = [detector.fit(features(40, 0), epochs=1, seed=5)[0].loss for detector in (fitted, loaded)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("bad", [np.zeros((3, DIMENSIONS)), np.full((2, 3, DIMENSIONS), np.nan), np.zeros((0, 3, 12))])
def test_refuses_what_it_cannot_use(fitted: Detector, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expects"):
        fitted.score(bad.astype(np.float32))
    with pytest.raises(ValueError, match="expects"):
        make_differnet().fit(bad.astype(np.float32), epochs=1, seed=0)


def test_loading_explains_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a saved detector \(detector.json\), found none"):
        load_detector(tmp_path)
    write_json(tmp_path / "detector.json", {"detector": "oracle"})
    with pytest.raises(InputError, match="detector must be one of"):
        load_detector(tmp_path)
    write_json(tmp_path / "detector.json", {"detector": "differnet"})
    with pytest.raises(InputError, match="is not a saved DifferNet"):
        load_detector(tmp_path)


def test_standardisation_is_a_buffer_taken_once() -> None:
    detector = make_differnet()
    first = features(40, 0)
    detector.fit(first, epochs=1, seed=0)
    assert isinstance(detector, DifferNet) and detector._model is not None
    flat = first.reshape(-1, DIMENSIONS)
    np.testing.assert_allclose(detector._model.mean, flat.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(detector._model.std, flat.std(axis=0), rtol=1e-4)
    before = detector._model.mean.clone()
    detector.fit(first + 100, epochs=1, seed=0)
    assert torch.equal(detector._model.mean, before)


def test_divergence_is_an_error_not_a_result() -> None:
    detector = DifferNet(
        DIMENSIONS, DifferNetParams(blocks=2, hidden=16), Training(learning_rate=1e30), torch.device("cpu")
    )
    with pytest.raises(RuntimeError, match="diverged in epoch"):
        detector.fit(features(40, 0), epochs=3, seed=0)
