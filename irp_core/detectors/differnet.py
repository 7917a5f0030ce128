"""The paper's detector: a normalizing flow on multi-scale pooled features (Rudolph et al., WACV 2021)."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irp_core.batches.sizes import alike_sizes, equal_batches
from irp_core.config import DifferNetParams, Params, Training
from irp_core.detectors import normalizing_flow
from irp_core.detectors.flow_folds import copy_of_one, stacked, train_stacked
from irp_core.detectors.folds import contents_of, drawn, score_folds
from irp_core.detectors.normalizing_flow import StandardizedFlow, low_precision, negative_log_likelihood
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.pooled import resolve_precision

__all__ = ["DifferNet"]

_LOG = logging.getLogger(__name__)
_SCORE_BATCH = 512  # views; bounds memory at 64 views per image with the paper's subnets


class DifferNet:
    """Score: mean of z² over views and dimensions, z = flow(standardised features).

    Args:
        dimensions: length of one view's feature vector.
        params: the flow's shape.
        training: optimiser and batch size.
        device: where the flow lives.

    Example:
        >>> views = FeatureSet(np.random.default_rng(0).normal(size=(8, 2, 6)).astype(np.float32))
        >>> shape = DifferNetParams(blocks=2, hidden=8)
        >>> detector = DifferNet(6, shape, Training(), torch.device("cpu"))
        >>> history = detector.fit(views, epochs=2, seed=0)
        >>> len(history), detector.score(views).shape
        (2, (8,))
    """

    needs: ClassVar[tuple[Local, ...]] = ()
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, dimensions: int, params: DifferNetParams, training: Training, device: torch.device) -> None:
        if dimensions < 2:
            raise ValueError(f"DifferNet needs at least 2 feature dimensions to couple. Got {dimensions}.")
        self.dimensions = dimensions
        self.params = params
        self.training = training
        self.device = device
        self._model: StandardizedFlow | None = None
        self._small: tuple[int, ...] = ()

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> DifferNet:
        """An untrained detector with the settings of sections `differnet` and `training`."""
        return cls(features.dimensions, params.differnet, params.training, device)

    def fit(self, features: FeatureSet, *, epochs: int, seed: int, report: Report | None = None) -> list[EpochReport]:
        """Train for `epochs` passes over all views of all images, in batches of `training.batch_size` views.

        Of more than `training.sample` images, so many are drawn by content (`irp_core.detectors.folds.drawn`); the log
        has the loss on the others.

        The first fit initialises the flow from `seed` and takes the standardisation from the features; a
        later one (warm start) keeps both and only uses `seed` for the order of the batches. Adam's moments
        start at zero either way, so that a warm start depends on the weights alone.

        Raises:
            ValueError: features of another shape, or not finite.
            RuntimeError: the loss is not finite.
        """
        features.check("DifferNet.fit")
        generator = torch.Generator().manual_seed(seed)
        chosen = self._drawn(features, everyone := np.arange(len(features)))
        samples = _samples(features if len(chosen) == len(features) else features[chosen]).to(self.device)
        if self._model is None:
            self._model = StandardizedFlow(self.dimensions, self.params, generator).to(self.device)
            if self.params.standardize:
                self._model.standardize(samples)
        model = self._model.train()
        options, products = self.training, self._products()
        optimizer = self._adam(model.parameters())
        reports = []
        for epoch in range(1, epochs + 1):
            started = time.perf_counter()
            total = 0.0
            order = torch.randperm(len(samples), generator=generator).to(self.device)
            for batch in order.split(options.batch_size):
                with low_precision(self.device, products):
                    loss = negative_log_likelihood(*model(samples[batch]))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(batch)
            mean_loss = total / len(samples)
            if not math.isfinite(mean_loss):
                raise self._diverged(epoch, mean_loss)
            reports.append(EpochReport(epoch, epochs, mean_loss, options.learning_rate, time.perf_counter() - started))
            if report:
                report(reports[-1])
        if len(chosen) < len(features):
            on_others = self._mean_loss(features[np.setdiff1d(everyone, chosen)])
            _LOG.info(
                "DifferNet trained on %d of %d images: loss %.4f, on the others %.4f",
                len(chosen), len(features), reports[-1].loss, on_others,
            )  # fmt: skip
        return reports

    def _drawn(
        self, features: FeatureSet, among: NDArray[np.intp], contents: Sequence[str] | None = None
    ) -> NDArray[np.intp]:
        most = self.training.sample
        return among if len(among) <= most else drawn(contents or contents_of(features), among, most)

    @torch.inference_mode()
    def _mean_loss(self, features: FeatureSet) -> float:
        """The fitted flow's loss on these images, a block of them at a time."""
        assert self._model is not None
        model, total, count = self._model.eval(), 0.0, 0
        for block in features.blocks():
            for batch in _samples(block).split(_SCORE_BATCH):
                total += negative_log_likelihood(*model(batch.to(self.device))).item() * len(batch)
                count += len(batch)
        return total / count

    @torch.inference_mode()
    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Mean of z² over views and dimensions (images,)."""
        features.check("DifferNet.score")
        if self._model is None:
            raise ValueError("DifferNet.score needs a fitted detector: call fit or load first.")
        model = self._model.eval()
        return np.concatenate([self._score_block(model, block.pooled) for block in features.blocks()])

    def _score_block(self, model: StandardizedFlow, pooled: NDArray[np.float32]) -> NDArray[np.float64]:
        images, views, dimensions = pooled.shape
        samples = torch.from_numpy(pooled.reshape(-1, dimensions))
        # The batch shape is constant, or one that was found to give the same bits: matrix kernels differ in the last
        # bit by shape, and an image must score the same alone as in company.
        squares = [
            model(batch.to(self.device))[0].double().square().mean(dim=1).cpu()
            for batch in equal_batches(samples, _SCORE_BATCH, self._small)
        ]
        scores: NDArray[np.float64] = torch.cat(squares)[: len(samples)].reshape(images, views).mean(dim=1).numpy()
        return scores

    def score_gradient(self, pooled: Tensor) -> Tensor:
        """∂score/∂features (n, dimensions) of one view each, of `pooled` (n, dimensions); float32."""
        if self._model is None:
            raise ValueError("DifferNet.score_gradient needs a fitted detector: call fit or load first.")
        features = pooled.detach().to(self.device).requires_grad_()
        z, _ = self._model.eval()(features)
        (gradient,) = torch.autograd.grad(z.square().mean(dim=1).sum(), features)
        return gradient

    @torch.inference_mode()
    def find_small_batches(self) -> None:
        """Look for smaller batches that give the same bits; `score` uses what is found."""
        if self._model is None:
            raise ValueError("DifferNet.find_small_batches needs a fitted detector: call fit or load first.")
        model = self._model.eval()
        drawn = np.random.default_rng(0).normal(size=(_SCORE_BATCH, self.dimensions)).astype(np.float32)
        probe = model.mean.cpu().numpy() + drawn * model.std.cpu().numpy()
        self._small = alike_sizes(lambda rows: model(torch.from_numpy(rows).to(self.device))[0].cpu().numpy(), probe)

    def score_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, epochs: int, seed: int
    ) -> NDArray[np.float64]:
        """Scores (images,) as `fold_by_fold` gives them, up to rounding, from flows that train side by side.

        Each fold's flow is the one that `fit` would train from scratch on the images of the other folds: same
        start, standardisation of its own, same batches. An image outside (fold -1) trains nothing and gets the
        geometric mean of all flows' scores. The weights of this detector are neither read nor changed.

        K folds take K times a flow's memory, for weights, gradients, Adam's moments and activations alike: at the
        paper's width (hidden 2048, 172 million weights) 2.8 GB per fold before activations, 14 GB for five.

        Args:
            features: of n images.
            folds: (n,), from 0 on; -1 for outside.

        Raises:
            ValueError: features of another shape, or not finite; fewer than two folds, or one without an image.
            RuntimeError: a loss is not finite.
        """
        features.check("DifferNet.score_out_of_fold")
        present = np.unique(folds[folds >= 0]).tolist()
        if folds.shape != (len(features),) or len(present) < 2 or present != list(range(len(present))):
            raise ValueError(
                f"DifferNet.score_out_of_fold expects a fold for each of {len(features)} images: 0, 1, and so on, "
                f"or -1 for outside. Got shape {folds.shape}, folds {present}."
            )
        contents = contents_of(features) if (folds >= 0).sum() > self.training.sample else None
        trained = [self._drawn(features, np.flatnonzero((folds != fold) & (folds >= 0)), contents) for fold in present]
        held = np.unique(np.concatenate(trained))
        views = features[slice(0, 1)].pooled.shape[1]
        generators = [torch.Generator().manual_seed(seed) for _ in present]
        start = StandardizedFlow(self.dimensions, self.params, generators[0]).to(self.device)
        for generator in generators[1:]:  # `fit` goes on with the generator that initialised the flow
            generator.set_state(generators[0].get_state())
        samples = _samples(features if len(held) == len(features) else features[held]).to(self.device)
        places = [np.searchsorted(held, images)[:, None] * views + np.arange(views) for images in trained]
        own = [torch.from_numpy(mine.ravel()).to(self.device) for mine in places]
        flows = stacked(start, len(present)).train()
        if self.params.standardize:
            flows.standardize_each(samples[mine] for mine in own)
        training = train_stacked(
            flows,
            samples,
            own,
            generators,
            optimiser=self._adam,
            batch_size=self.training.batch_size,
            epochs=epochs,
            products=self._products(),
        )
        for epoch, losses in enumerate(training, start=1):
            lost = losses[~np.isfinite(losses)]
            if lost.size:
                raise self._diverged(epoch, float(lost[0]))
        scorer = DifferNet(self.dimensions, self.params, self.training, self.device)
        scorer._model = start

        def detector_of(fold: int) -> DifferNet:
            copy_of_one(flows, fold, into=start)
            if self.params.standardize:
                start.mean.copy_(flows.mean[fold, 0])
                start.std.copy_(flows.std[fold, 0])
            return scorer

        return score_folds(detector_of, features, folds)

    def _products(self) -> torch.dtype:
        """The type in which the subnets' matrices are multiplied in training; the weights are float32 either way."""
        return resolve_precision(self.training.precision, self.device)

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        options = self.training
        return torch.optim.Adam(
            parameters,
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            eps=options.eps,
            weight_decay=options.weight_decay,
            fused=True,
        )

    def _diverged(self, epoch: int, loss: float) -> RuntimeError:
        return RuntimeError(
            f"DifferNet diverged in epoch {epoch} (loss {loss}); lower training.learning_rate "
            f"({self.training.learning_rate}) or set differnet.standardize."
        )

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        if self._model is None:
            raise ValueError("DifferNet.save needs a fitted detector.")
        description = {
            "detector": "differnet",
            "dimensions": self.dimensions,
            "differnet": self.params.model_dump(mode="json"),
            "training": self.training.result_keys(),
        }
        write_saved(directory, self._model.state_dict(), description)

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> DifferNet:
        """Read what `save` wrote.

        Raises:
            InputError: files that are missing or do not fit each other.
        """
        state, description = read_saved(directory, (), torch.device("cpu"))
        try:
            detector = cls(
                description["dimensions"],
                DifferNetParams.model_validate(description["differnet"]),
                Training.model_validate(description["training"]),
                device or torch.device("cpu"),
            )
            model = StandardizedFlow(detector.dimensions, detector.params, torch.Generator())
            model.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{directory}: is not a saved DifferNet ({first_line}).") from None
        detector._model = model.to(detector.device)
        return detector


def _samples(features: FeatureSet) -> Tensor:
    """All views of all images (n, dimensions); more than a gigabyte of them lies in a temporary file that is mapped."""
    images, views, dimensions = len(features), *features[slice(0, 1)].pooled.shape[1:]
    if images * views * dimensions * 4 <= normalizing_flow.IN_MEMORY:
        return torch.from_numpy(features.pooled.reshape(-1, dimensions))
    with tempfile.NamedTemporaryFile(prefix="irp-views-") as file:  # it has no name any more when it is read
        try:  # where the disk is full, writing to a mapped file with holes is no error but the process' end
            os.posix_fallocate(file.fileno(), 0, images * views * dimensions * 4)
        except OSError as error:
            raise OSError(error.errno, error.strerror, file.name) from None
        mapped = np.memmap(file.name, dtype=np.float32, mode="r+", shape=(images * views, dimensions))
    start = 0
    for block in features.blocks():
        mapped[start : start + len(block) * views] = block.pooled.reshape(-1, dimensions)
        start += len(block) * views
    return torch.from_numpy(mapped)
