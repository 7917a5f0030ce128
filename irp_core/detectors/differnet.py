"""The paper's detector: a normalizing flow on multi-scale pooled features (Rudolph et al., WACV 2021)."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irp_core.config import DifferNetParams, Params, Training
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.feature_set import FeatureSet
from irp_core.flow import NormalizingFlow, negative_log_likelihood

__all__ = ["DifferNet"]

_SCORE_BATCH = 512  # views; bounds memory at 64 views per image with the paper's subnets


class DifferNet:
    """Score: mean of z² over views and dimensions, z = flow(standardised features).

    Args:
        dimensions: length of one view's feature vector.
        params: the flow's shape.
        training: optimiser and batch size.
        device: where the flow lives.
    """

    needs_patches: ClassVar[bool] = False
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, dimensions: int, params: DifferNetParams, training: Training, device: torch.device) -> None:
        if dimensions < 2:
            raise ValueError(f"DifferNet needs at least 2 feature dimensions to couple. Got {dimensions}.")
        self.dimensions = dimensions
        self.params = params
        self.training = training
        self.device = device
        self._model: _StandardizedFlow | None = None

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> DifferNet:
        """An untrained detector with the settings of sections `differnet` and `training`."""
        return cls(features.pooled.shape[2], params.differnet, params.training, device)

    def fit(self, features: FeatureSet, *, epochs: int, seed: int, report: Report | None = None) -> list[EpochReport]:
        """Train for `epochs` passes over all views of all images, in batches of `training.batch_size` views.

        The first fit initialises the flow from `seed` and takes the standardisation from the features; a
        later one (warm start) keeps both and only uses `seed` for the order of the batches. Adam's moments
        start at zero either way, so that a warm start depends on the weights alone.

        Raises:
            ValueError: features of another shape, or not finite.
            RuntimeError: the loss is not finite.
        """
        features.check("DifferNet.fit")
        generator = torch.Generator().manual_seed(seed)
        samples = torch.from_numpy(features.pooled.reshape(-1, features.pooled.shape[2])).to(self.device)
        if self._model is None:
            self._model = _StandardizedFlow(self.dimensions, self.params, generator).to(self.device)
            if self.params.standardize:
                self._model.standardize(samples)
        model = self._model.train()
        options = self.training
        optimizer = torch.optim.Adam(
            model.parameters(),
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            eps=options.eps,
            weight_decay=options.weight_decay,
            fused=True,
        )
        reports = []
        for epoch in range(1, epochs + 1):
            started = time.perf_counter()
            total = 0.0
            order = torch.randperm(len(samples), generator=generator).to(self.device)
            for batch in order.split(options.batch_size):
                loss = negative_log_likelihood(*model(samples[batch]))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(batch)
            mean_loss = total / len(samples)
            if not math.isfinite(mean_loss):
                raise RuntimeError(
                    f"DifferNet diverged in epoch {epoch} (loss {mean_loss}); lower training.learning_rate "
                    f"({options.learning_rate}) or set differnet.standardize."
                )
            reports.append(EpochReport(epoch, epochs, mean_loss, options.learning_rate, time.perf_counter() - started))
            if report:
                report(reports[-1])
        return reports

    @torch.inference_mode()
    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Mean of z² over views and dimensions (images,)."""
        features.check("DifferNet.score")
        if self._model is None:
            raise ValueError("DifferNet.score needs a fitted detector: call fit or load first.")
        model = self._model.eval()
        images, views, dimensions = features.pooled.shape
        samples = torch.from_numpy(features.pooled.reshape(-1, dimensions))
        # The batch shape is constant: matrix kernels differ in the last bit by shape, and an image must
        # score the same alone as in company.
        padded = torch.cat([samples, samples[-1:].expand(-len(samples) % _SCORE_BATCH, -1)])
        squares = [
            model(batch.to(self.device))[0].double().square().mean(dim=1).cpu() for batch in padded.split(_SCORE_BATCH)
        ]
        scores: NDArray[np.float64] = torch.cat(squares)[: len(samples)].reshape(images, views).mean(dim=1).numpy()
        return scores

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        if self._model is None:
            raise ValueError("DifferNet.save needs a fitted detector.")
        description = {
            "detector": "differnet",
            "dimensions": self.dimensions,
            "differnet": self.params.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
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
            model = _StandardizedFlow(detector.dimensions, detector.params, torch.Generator())
            model.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{directory}: is not a saved DifferNet ({first_line}).") from None
        detector._model = model.to(detector.device)
        return detector


class _StandardizedFlow(nn.Module):
    """The flow behind a fixed affine map (features - mean) / std; the map is a buffer of the model.

    Its constant log-determinant is left out of the loss: it moves no gradient.
    """

    mean: Tensor
    std: Tensor

    needs_patches: ClassVar[bool] = False
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, dimensions: int, params: DifferNetParams, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("std", torch.ones(dimensions))
        self.flow = NormalizingFlow(
            dimensions, blocks=params.blocks, hidden=params.hidden, clamp=params.clamp, generator=generator
        )

    def standardize(self, samples: Tensor) -> None:
        """Take mean and standard deviation (n, dimensions) → (dimensions,) from the training features."""
        exact = samples.double()
        self.mean.copy_(exact.mean(dim=0))
        # A channel that never fires has no spread; dividing by the floor keeps it at zero.
        self.std.copy_(exact.std(dim=0, correction=0).clamp_min(1e-6))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.flow((features - self.mean) / self.std)
        return z, log_det
