"""`patch_knn` at the resolution of cells: a place is normal when several other images hold one like it, anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irp_core.config import CellVotesParams, Params, PatchKnnParams
from irp_core.detectors.patch_knn import PatchKnn
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local, Result

__all__ = ["CellVotes"]

_AT_ONCE = 64  # images, in single precision


class CellVotes:
    """Score: mean distance of an image's worst cells to the image that casts the deciding vote.

    As `irp_core.detectors.patch_knn.PatchKnn`, of cells: no image votes on itself or its copies, a defect that fewer
    images hold than a share `votes` cannot vouch for itself, and a cell is held against cells of any position. Because
    of the votes, contamination costs it little; knowing no position, it is blind to what is in the wrong place.

    A score costs bank x cells² x channels multiplications; the bank bounds them, and the memory: of a large set no more
    than the bank and 64 images are held.

    Example:
        >>> cells = np.random.default_rng(0).normal(size=(20, 3, 4, 8)).astype(np.float16)
        >>> images = FeatureSet(np.zeros((20, 1, 2), dtype=np.float32), cells=cells)
        >>> detector = CellVotes(CellVotesParams(), torch.device("cpu"))
        >>> _ = detector.fit(images)
        >>> detector.score(images).shape, tuple(detector.maps(images).shape)
        ((20,), (20, 3, 4))
    """

    needs: ClassVar[tuple[Local, ...]] = ("cells",)
    samples: ClassVar[tuple[Local, ...]] = ("cells",)
    leaves_itself_out: ClassVar[bool] = True

    def __init__(self, params: CellVotesParams, device: torch.device) -> None:
        self.params = params
        self.device = device
        self._nearest = PatchKnn(PatchKnnParams(**params.model_dump()), device)
        self._grid: tuple[int, ...] = ()

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> CellVotes:
        """An untrained detector with the settings of section `cell_votes`."""
        return cls(params.cell_votes, device)

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fill the bank anew; `seed` draws the images where there are more than it holds.

        Raises:
            ValueError: fewer than two images: nobody could vote.
        """
        features.check("CellVotes.fit", self.needs)
        features = features.having(self.needs)
        done = self._nearest.fit(_AsPatches(features), seed=seed, report=report)
        self._grid = _grid_of(features)
        return done

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        return self.score_voting_once(features, np.arange(len(features)))

    def score_voting_once(self, features: FeatureSet, voter: NDArray[np.intp]) -> NDArray[np.float64]:
        """As `PatchKnn.score_voting_once`."""
        self._check(features)
        return self._nearest.score_voting_once(_AsPatches(features), voter)

    def maps(self, features: FeatureSet) -> Tensor:
        """Each cell's distance (images, rows, columns)."""
        self._check(features)
        found = self._nearest.distances_to_votes(_AsPatches(features), np.arange(len(features)))
        return found.reshape(len(features), *self._grid).float().clamp_min(torch.finfo(torch.float32).tiny)

    def _check(self, features: FeatureSet) -> None:
        features.check("CellVotes.score", self.needs)
        if not self._grid:
            raise ValueError("CellVotes.score needs a fitted detector: call fit or load first.")
        if (grid := _grid_of(features)) != tuple(self._grid):
            raise ValueError(f"CellVotes.score expects cells on a grid {self._grid}. Got {grid}.")

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        described = {
            "detector": "cell_votes",
            "cell_votes": self.params.model_dump(mode="json"),
            "grid": list(self._grid),
        }
        write_saved(directory, self._nearest.tensors(), described)

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> CellVotes:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        tensors, description = read_saved(directory, ("bank", "contents"), target)
        try:
            detector = cls(CellVotesParams.model_validate(description["cell_votes"]), target)
            detector._nearest = PatchKnn.restore(detector._nearest.params, tensors, target)
            detector._grid = _grid(description["grid"], int(tensors["bank"].shape[1]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{directory}: is not a saved CellVotes ({str(error).splitlines()[0]}).") from None
        return detector


class _AsPatches(FeatureSet):
    """The cells of a set as patches, converted where they are read: few images at a time are in single precision."""

    def __init__(self, features: FeatureSet) -> None:
        self.__dict__["_cells_of"] = features  # the fields of the frozen data class are properties here

    @property
    def _of(self) -> FeatureSet:
        held: FeatureSet = self.__dict__["_cells_of"]
        return held

    @property
    def pooled(self) -> NDArray[np.float32]:
        return self._of.pooled

    @property
    def patches(self) -> NDArray[np.float32]:
        cells = self._of.cells
        assert cells is not None
        return cells.reshape(len(cells), -1, cells.shape[3]).astype(np.float32)

    def __len__(self) -> int:
        return len(self._of)

    def __getitem__(self, images: NDArray[np.bool_] | NDArray[np.intp] | slice) -> _AsPatches:
        return _AsPatches(self._of[images])

    def blocks(self) -> Iterator[FeatureSet]:
        for first in range(0, len(self), _AT_ONCE):
            yield FeatureSet(
                np.empty((0, 0, 0), dtype=np.float32), patches=self[slice(first, first + _AT_ONCE)].patches
            )

    def each_part(self, function: Callable[..., Result], *columns: Sequence[Any]) -> Iterator[Result]:
        return self._of.each_part(_OfPatches(function), *columns)

    def check(self, caller: str, needs: tuple[Local, ...] = ()) -> None:
        """Nothing: `CellVotes` has checked the cells."""


@dataclass(frozen=True)
class _OfPatches:
    """A function of patches, as one of a set with cells."""

    function: Callable[..., Any]

    def __call__(self, features: FeatureSet, *columns: Sequence[Any]) -> Any:
        return self.function(_AsPatches(features), *columns)


def _grid_of(features: FeatureSet) -> tuple[int, ...]:
    cells = features[slice(0, 1)].cells
    assert cells is not None
    return cells.shape[1:3]


def _grid(said: Sequence[object], cells: int) -> tuple[int, int]:
    rows, columns = (int(str(side)) for side in said)
    if rows * columns != cells:
        raise ValueError(f"a grid {rows} x {columns} does not fit {cells} cells")
    return rows, columns
