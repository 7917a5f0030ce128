"""What every detector must do, whichever it is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from irp_core.atomic import read_json, write_json
from irp_core.config import DifferNetParams, Training
from irp_core.detectors import DETECTORS, Detector, DifferNet, Localises, detector_class, load_detector
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.params_file import checked_params

pytestmark = pytest.mark.usefixtures("few_resamples")

DIMENSIONS = 12
PARAMS = checked_params({"differnet": {"blocks": 2, "hidden": 16}, "training": {"batch_size": 16}}, "test")


def features(images: int, seed: int, shift: float = 0.0) -> FeatureSet:
    """Normal images; a shift moves the whole image, one of its patches and cells, and the kurtosis of every channel."""
    rng = np.random.default_rng(seed)
    pooled = rng.normal(shift, 1.0, (images, 3, DIMENSIONS)) * np.arange(1, DIMENSIONS + 1)
    patches = rng.normal(0.0, 1.0, (images, 9, 5))
    patches[:, 4] += shift * np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    kurtosis = rng.normal(1.0 + shift / 2, 0.3, (images, 20))
    cells = rng.normal(0.0, 1.0, (images, 4, 3, 6))
    cells[:, 2, 1] += shift * np.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0])
    return FeatureSet(
        pooled.astype(np.float32), patches.astype(np.float32), kurtosis.astype(np.float32), cells.astype(np.float16)
    )


def make(name: str) -> Detector:
    return detector_class(name).build(features(2, 0), PARAMS, torch.device("cpu"))


def make_differnet() -> Detector:
    return make("differnet")


@pytest.fixture(params=sorted(DETECTORS))
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def fitted(name: str) -> Detector:
    """Shared by the tests, which only score with it and save it."""
    return _fitted(name)


@cache
def _fitted(name: str) -> Detector:
    detector = make(name)
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
    assert fitted.score(batch[slice(7, 8)])[0] == together[7]


def test_the_seed_decides_everything(name: str) -> None:
    scores = []
    for seed in (3, 3):
        torch.manual_seed(len(scores))  # the global generator must not matter
        detector = make(name)
        detector.fit(features(40, 0), epochs=2, seed=seed)
        scores.append(detector.score(features(10, 1)))
    assert (scores[0] == scores[1]).all()


def test_another_seed_is_another_flow() -> None:
    scores = []
    for seed in (3, 4):
        detector = make_differnet()
        detector.fit(features(40, 0), epochs=2, seed=seed)
        scores.append(detector.score(features(10, 1)))
    assert (scores[0] != scores[1]).any()


@pytest.mark.parametrize("name", sorted(set(DETECTORS) - {"differnet"}))
def test_the_order_of_the_training_images_does_not_matter(name: str) -> None:
    training, order = features(40, 0), np.random.default_rng(1).permutation(40)
    scores = []
    for images in (training, training[order]):
        detector = make(name)
        detector.fit(images, epochs=1, seed=0)
        scores.append(detector.score(features(10, 1)))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_the_global_generators_are_left_alone(name: str) -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make(name).fit(features(10, 0), epochs=1, seed=9)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_saved_and_loaded_it_is_the_same(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    for batch in (features(10, 1), features(40, 0)):  # new images, and those that it trained on
        assert (load_detector(tmp_path).score(batch) == fitted.score(batch)).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["detector.json", "weights.safetensors"]


def test_a_warm_start_goes_on_from_the_loaded_weights(tmp_path: Path) -> None:
    fitted = make_differnet()
    fitted.fit(features(40, 0), epochs=5, seed=3)
    fitted.save(tmp_path)
    loaded = load_detector(tmp_path)
    losses = [detector.fit(features(40, 0), epochs=1, seed=5)[0].loss for detector in (fitted, loaded)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("bad", [np.zeros((3, DIMENSIONS)), np.full((2, 3, DIMENSIONS), np.nan), np.zeros((0, 3, 12))])
def test_refuses_what_it_cannot_use(fitted: Detector, name: str, bad: np.ndarray) -> None:
    unusable = replace(features(2, 0)[np.arange(len(bad)) % 2], pooled=bad.astype(np.float32))
    with pytest.raises(ValueError, match="expects"):
        fitted.score(unusable)
    with pytest.raises(ValueError, match="expects"):
        make(name).fit(unusable, epochs=1, seed=0)


@pytest.mark.parametrize("name", sorted(name for name, kind in DETECTORS.items() if kind.needs))
def test_local_features_are_missed_where_they_are_needed(name: str) -> None:
    for local in DETECTORS[name].needs:
        with pytest.raises(ValueError, match=f"expects {local} \\(images"):
            make(name).fit(replace(features(10, 0), **{local: None}), epochs=1, seed=0)
        damaged = features(10, 0)
        getattr(damaged, local)[3, 2] = np.inf
        with pytest.raises(ValueError, match="finite"):
            make(name).fit(damaged, epochs=1, seed=0)


@pytest.mark.parametrize("name", sorted(name for name, kind in DETECTORS.items() if issubclass(kind, Localises)))
def test_a_map_shows_the_place_and_does_not_depend_on_the_company(name: str) -> None:
    detector = make(name)
    detector.fit(features(40, 0), epochs=1, seed=3)
    assert isinstance(detector, Localises)
    batch = features(10, 2, shift=6.0)
    maps = detector.maps(batch)
    grid, place = ((4, 3), 2 * 3 + 1) if "cells" in detector.needs else ((3, 3), 4)
    assert maps.shape == (10, *grid) and maps.dtype == torch.float32 and bool((maps > 0).all())
    assert (maps.flatten(1).argmax(dim=1) == place).all()
    assert torch.equal(detector.maps(batch[slice(7, 8)])[0], maps[7])


def test_every_member_of_the_protocol_is_there(name: str) -> None:
    assert isinstance(DETECTORS[name].needs, tuple)
    assert isinstance(DETECTORS[name].leaves_itself_out, bool)


class Brightness:
    """Somebody else's detector, in one class."""

    needs = ()
    leaves_itself_out = False

    @classmethod
    def build(cls, features: FeatureSet, params: object, device: torch.device) -> Brightness:
        return cls()

    def fit(self, features: FeatureSet, *, epochs: int, seed: int, report: object = None) -> list[object]:
        self.mean = float(features.pooled.mean())
        return []

    def score(self, features: FeatureSet) -> np.ndarray:
        return np.abs(features.pooled.mean(axis=(1, 2)) - self.mean).astype(np.float64) + 1e-9

    def save(self, directory: Path) -> None:
        write_json(directory / "detector.json", {"detector": f"{__name__}:Brightness", "mean": self.mean})

    @classmethod
    def load(cls, directory: Path, device: object = None) -> Brightness:
        detector = cls()
        detector.mean = read_json(directory / "detector.json")["mean"]
        return detector


def test_a_foreign_detector_is_one_class(tmp_path: Path) -> None:
    found = detector_class(f"{__name__}:Brightness")
    detector = found.build(features(2, 0), PARAMS, torch.device("cpu"))
    detector.fit(features(20, 0), epochs=1, seed=0)
    detector.save(tmp_path)
    with pytest.raises(InputError, match="allow it by name"):
        load_detector(tmp_path)
    loaded = load_detector(tmp_path, allow=[f"{__name__}:Brightness"])
    assert (loaded.score(features(5, 1)) == detector.score(features(5, 1))).all()


@pytest.mark.parametrize(
    ("unknown", "message"),
    [("gauss", "must be one of"), ("no.such:Thing", "must be one of"), ("pathlib:Path", "expected the members")],
)
def test_an_unknown_detector_is_named(unknown: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        detector_class(unknown)


def test_loading_explains_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a saved detector \(detector.json\), found none"):
        load_detector(tmp_path)
    write_json(tmp_path / "detector.json", {"detector": "oracle"})
    with pytest.raises(InputError, match="detector must be one of"):
        load_detector(tmp_path)
    for kind in DETECTORS:
        write_json(tmp_path / "detector.json", {"detector": kind})
        with pytest.raises(InputError, match="is not a saved"):
            load_detector(tmp_path)


def test_standardisation_is_a_buffer_taken_once() -> None:
    detector = make_differnet()
    first = features(40, 0)
    detector.fit(first, epochs=1, seed=0)
    assert isinstance(detector, DifferNet) and detector._model is not None
    flat = first.pooled.reshape(-1, DIMENSIONS)
    np.testing.assert_allclose(detector._model.mean, flat.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(detector._model.std, flat.std(axis=0), rtol=1e-4)
    before = detector._model.mean.clone()
    detector.fit(FeatureSet(first.pooled + 100), epochs=1, seed=0)
    assert torch.equal(detector._model.mean, before)


def test_divergence_is_an_error_not_a_result() -> None:
    detector = DifferNet(
        DIMENSIONS, DifferNetParams(blocks=2, hidden=16), Training(learning_rate=1e30), torch.device("cpu")
    )
    with pytest.raises(RuntimeError, match="diverged in epoch"):
        detector.fit(features(40, 0), epochs=3, seed=0)


def test_differnets_score_is_equation_4s_mean_over_the_views() -> None:
    """-log p_Z(z), mean over the views, is D/2 (score + log 2π): the same order and the same ratios of differences."""
    detector, images = _fitted("differnet"), features(10, 1)
    assert isinstance(detector, DifferNet) and detector._model is not None
    with torch.inference_mode():
        z, _ = detector._model(torch.from_numpy(images.pooled.reshape(-1, DIMENSIONS)))
    surprise = -torch.distributions.Normal(0.0, 1.0).log_prob(z.double()).sum(dim=1).reshape(10, 3).mean(dim=1).numpy()
    scores = detector.score(images)
    np.testing.assert_allclose(surprise, DIMENSIONS / 2 * (scores + np.log(2 * np.pi)), rtol=1e-6)
    each = [detector.score(FeatureSet(images.pooled[:, view : view + 1])) for view in range(3)]
    np.testing.assert_allclose(np.mean(each, axis=0), scores, rtol=1e-12)


def test_the_gaussian_is_the_shrunk_mahalanobis_distance() -> None:
    from sklearn.covariance import LedoitWolf

    training, new = features(40, 0), features(10, 1)
    detector = make("gaussian")
    detector.fit(training, epochs=1, seed=0)
    averaged = training.pooled.astype(float).mean(axis=1)
    mean, spread = averaged.mean(axis=0), averaged.std(axis=0)
    reference = LedoitWolf(assume_centered=True).fit((averaged - mean) / spread)
    expected = reference.mahalanobis((new.pooled.astype(float).mean(axis=1) - mean) / spread) / DIMENSIONS
    np.testing.assert_allclose(detector.score(new), expected, rtol=1e-6)


def test_the_kurtosis_against_a_plain_computation() -> None:
    training, new = features(40, 0), features(10, 1, shift=3.0)
    assert training.kurtosis is not None and new.kurtosis is not None
    detector = make("kurtosis")
    detector.fit(training, epochs=1, seed=0)
    median = np.median(training.kurtosis, axis=0)
    deviation = 1.4826 * np.median(np.abs(training.kurtosis - median), axis=0)
    distances = np.abs(new.kurtosis - median) / deviation
    assert (distances > 6).any()
    np.testing.assert_allclose(detector.score(new), (np.minimum(distances, 6) ** 2).mean(axis=1), rtol=1e-4)


def test_votes_against_a_plain_computation() -> None:
    training, new = features(12, 0), features(3, 1)
    assert training.patches is not None and new.patches is not None
    params = checked_params({"patch_knn": {"votes": 0.25, "worst": 0.3}}, "test")
    detector = detector_class("patch_knn").build(training, params, torch.device("cpu"))
    detector.fit(training, epochs=1, seed=0)

    def standardised(patches: np.ndarray) -> np.ndarray:
        return (patches - patches.mean(axis=0)) / patches.std(axis=0)

    bank = [standardised(image) for image in training.patches.astype(float)]
    for image, score in zip(new.patches.astype(float), detector.score(new), strict=True):
        query = standardised(image)
        nearest = [np.linalg.norm(query[:, None] - other[None], axis=2).min(axis=1) for other in bank]
        deciding = np.sort(nearest, axis=0)[2]  # a quarter of twelve images vote
        assert score == pytest.approx(np.sort(deciding)[-3:].mean(), rel=1e-4)


def test_a_training_image_and_its_copies_do_not_vote_on_themselves() -> None:
    training = features(12, 0)
    odd = features(1, 5, shift=8.0)
    assert training.patches is not None and odd.patches is not None

    def joined(*sets: FeatureSet) -> FeatureSet:
        return FeatureSet(
            np.concatenate([one.pooled for one in sets]),
            np.concatenate([one.patches for one in sets if one.patches is not None]),
        )

    alone, thrice = make("patch_knn"), make("patch_knn")
    alone.fit(training, epochs=1, seed=0)
    thrice.fit(joined(training, odd, odd, odd), epochs=1, seed=0)
    assert thrice.score(odd) == pytest.approx(alone.score(odd), rel=1e-6)


def test_the_bank_is_bounded_and_drawn_by_content() -> None:
    params = checked_params({"patch_knn": {"bank": 8}}, "test")
    training, order = features(40, 0), np.random.default_rng(1).permutation(40)
    scores = []
    for images in (training, training[order]):
        detector = detector_class("patch_knn").build(images, params, torch.device("cpu"))
        detector.fit(images, epochs=1, seed=0)
        scores.append(detector.score(features(5, 1)))
        assert detector.tensors()["bank"].shape[0] == 8  # type: ignore[attr-defined]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
