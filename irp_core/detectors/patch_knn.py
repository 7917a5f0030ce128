"""Nearest neighbours across images, with votes: a patch is normal when several other images hold one like it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irp_core.batches.lanes import lanes_for
from irp_core.config import Params, PatchKnnParams
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local

__all__ = ["PatchKnn"]

_VOTERS = 64  # images of the bank whose distances are computed at once: 1 MB of products
_FIRST = 2 * _VOTERS  # images of the bank that vote on every patch, before those that cannot be among the worst go
_HEAD = 16  # patches of an image that the whole bank votes on
_GROUP = 32  # images that are scored together: what is left of their patches fills whole products


_Query = tuple[Tensor, list[int]]


class PatchKnn:
    """Score: mean distance of an image's worst patches to the image that casts the deciding vote.

    For every patch the distance to the nearest patch of each image in the bank is taken; the v-th smallest is the
    patch's distance, where v is a share `votes` of the bank: a defect that occurs in fewer images than that cannot
    vouch for itself, however often it was photographed. An image in the bank never votes on itself or on its copies
    (known by their content), so training images are scored as if they had not trained.

    Patches are standardised within their image (mean and spread of each channel over its patches): what is
    common to an image, such as lighting or the grain of its material, is not a local defect.

    The bank holds at most `bank` images, drawn at random, which bounds memory and time (a score costs bank x patches² x
    channels multiplications).

    Example:
        >>> patches = np.random.default_rng(0).normal(size=(20, 4, 8)).astype(np.float32)
        >>> images = FeatureSet(np.zeros((20, 1, 2), dtype=np.float32), patches=patches)
        >>> detector = PatchKnn(PatchKnnParams(), torch.device("cpu"))
        >>> _ = detector.fit(images)
        >>> detector.score(images).shape
        (20,)
    """

    needs: ClassVar[tuple[Local, ...]] = ("patches",)
    leaves_itself_out: ClassVar[bool] = True

    def __init__(self, params: PatchKnnParams, device: torch.device) -> None:
        self.params = params
        self.device = device
        self._bank: Tensor | None = None  # (images, patches, channels), standardised
        self._squares: Tensor = torch.empty(0)  # |b|² of each patch in the bank
        self._contents: list[bytes] = []

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> PatchKnn:
        """An untrained detector with the settings of section `patch_knn`."""
        return cls(params.patch_knn, device)

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fill the bank anew; `seed` draws the images where there are more than it holds.

        Raises:
            ValueError: fewer than two images: nobody could vote.
        """
        features.check("PatchKnn.fit", self.needs)
        if len(features) < 2:
            raise ValueError(
                f"PatchKnn.fit expects at least 2 images, of which one votes on the other. Got {len(features)}."
            )
        started = time.perf_counter()
        voting = features
        if len(features) > self.params.bank:
            # By content, so that the draw does not depend on the images' order.
            contents = _contents(features)
            order = sorted(range(len(contents)), key=contents.__getitem__)
            drawn = np.random.default_rng(seed).permutation(len(contents))[: self.params.bank]
            voting = features[np.sort(np.asarray(order)[drawn])]
        patches = _patches(voting)
        self._hold(_standardised(patches).to(self.device), [_content(image) for image in patches])
        sample = features[slice(0, 16)]
        done = EpochReport(1, 1, float(self.score(sample).mean()), 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    def _hold(self, bank: Tensor, contents: list[bytes]) -> None:
        self._bank, self._contents = bank, contents
        self._squares = bank.square().sum(dim=2).reshape(-1, 1)

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        return self.score_voting_once(features, np.arange(len(features)))

    @torch.inference_mode()
    def score_voting_once(self, features: FeatureSet, voter: NDArray[np.intp]) -> NDArray[np.float64]:
        """Scores (images,) where each image has neither its own vote nor that of the image that votes for its group.

        Args:
            voter: (images,), which of the images votes for an image's copies and near-copies.
        """
        contents = self._checked_contents(features)
        parts = features.each_part(self._scores, contents, [contents[number] for number in voter.tolist()])
        return np.concatenate(list(parts))

    @torch.inference_mode()
    def _scores(self, features: FeatureSet, own: Sequence[bytes], voting: Sequence[bytes]) -> NDArray[np.float64]:
        assert self._bank is not None
        worst = max(1, round(self.params.worst * self._bank.shape[1]))
        queries = self._queries(features, own, voting)
        groups = iter(lambda: list(islice(queries, _GROUP)), [])

        @torch.inference_mode()
        def scored(group: list[_Query]) -> list[float]:
            return [float(image.double().topk(worst).values.mean()) for image in self._worst(group, worst)]

        # Two cores on one such product are hardly faster than one; two groups side by side are twice as fast.
        lanes = lanes_for(self.device) if len(own) > _GROUP else None
        if lanes is None:
            found: Iterator[list[float]] = map(scored, groups)
        else:
            some = iter(lambda: list(islice(groups, 4 * lanes.count)), [])
            found = (of_group for groups_ in some for of_group in lanes.map(scored, groups_))
        scores = [score for of_group in found for score in of_group]
        return np.maximum(np.array(scores, dtype=np.float64), np.finfo(np.float64).tiny)

    @torch.inference_mode()
    def maps(self, features: FeatureSet) -> Tensor:
        """Each patch's distance (images, rows, columns), without the image's own vote."""
        distances = self.distances_to_votes(features, np.arange(len(features)))
        side = math.isqrt(distances.shape[1])
        return distances.reshape(-1, side, side).clamp_min(torch.finfo(torch.float32).tiny)

    def distances_to_votes(self, features: FeatureSet, voter: NDArray[np.intp]) -> Tensor:
        """(images, patches): how far a patch is from one like it in the images that vote."""
        contents = self._checked_contents(features)
        queries = self._queries(features, contents, [contents[number] for number in voter.tolist()])
        return torch.stack([self._distances(query, itself).cpu() for query, itself in queries])

    def _checked_contents(self, features: FeatureSet) -> list[bytes]:
        """The digest of each image's patches (images,), of a set that this detector can score."""
        features.check("PatchKnn.score", self.needs)
        if self._bank is None:
            raise ValueError("PatchKnn.score needs a fitted detector: call fit or load first.")
        found = _patches(features[slice(0, 1)]).shape[1:]
        if found != tuple(self._bank.shape[1:]):
            raise ValueError(f"PatchKnn.score expects patches of shape {tuple(self._bank.shape[1:])}. Got {found}.")
        return _contents(features)

    def _queries(self, features: FeatureSet, own: Sequence[bytes], voting: Sequence[bytes]) -> Iterator[_Query]:
        """The standardised patches (patches, channels) of each image, and who in the bank has no vote on it.

        Args:
            own: the digests of the images' patches.
            voting: those of the images that vote for them.
        """
        held: dict[bytes, list[int]] = {}
        for number, content in enumerate(self._contents):
            held.setdefault(content, []).append(number)
        queries = (query for block in features.blocks() for query in _standardised(_patches(block)))
        for query, mine, theirs in zip(queries, own, voting, strict=True):
            yield query.to(self.device), [at for content in {mine, theirs} for at in held.get(content, [])]

    def _distances(self, query: Tensor, itself: list[int]) -> Tensor:
        """(patches,): how far each patch of an image is from the one that casts the deciding vote."""
        assert self._bank is not None
        nearest = self._nearest(query, query.square().sum(dim=1), 0, len(self._bank))
        if len(itself) < len(self._bank):
            nearest[:, itself] = torch.inf
        return _deciding(nearest, self._votes(itself))

    def _votes(self, itself: list[int]) -> int:
        assert self._bank is not None
        return max(1, round(self.params.votes * (len(self._bank) - len(itself))))

    def _worst(self, group: list[_Query], worst: int) -> Iterator[Tensor]:
        """Of each image the distances of some of its patches, the `worst` among them.

        A part of the bank votes on all patches: the others' votes can only bring a patch nearer. So one that is nearer
        by then than the `worst`-th of those that all have voted on needs no more votes. Bits are those of `_distances`.
        """
        assert self._bank is not None
        images, patches, _ = self._bank.shape
        first = max(_FIRST, -(-2 * max(self._votes([]), 1) // _VOTERS) * _VOTERS)
        excluded = max(len(itself) for _, itself in group)
        few = first + excluded >= images or excluded > self._votes([]) or patches <= 2 * _HEAD or worst > _HEAD
        if few or self.device.type != "cpu":
            yield from (self._distances(query, itself).cpu() for query, itself in group)
            return
        owner = torch.arange(len(group)).repeat_interleave(patches)
        pool = _Pool(self, group, owner)
        pool.vote(first)
        head = pool.bound.view(len(group), patches).argsort(dim=1, descending=True, stable=True)[:, :_HEAD]
        chosen = torch.zeros(len(group), patches, dtype=torch.bool).scatter_(1, head, True).flatten()
        known, rest = pool[chosen], pool[~chosen]
        known.vote(images)
        least = known.bound.view(len(group), _HEAD).topk(worst, dim=1).values[:, -1]
        while True:
            rest = rest[rest.bound >= least[rest.owner]]
            if rest.voted == images or not len(rest):
                break
            rest.vote(min(rest.voted + _VOTERS, images))
        for number in range(len(group)):
            yield torch.cat([part.bound[part.owner == number] for part in (known, rest)])

    def _nearest(self, query: Tensor, squares: Tensor, start: int, end: int) -> Tensor:
        """(n, voters): the squared distance of n patches to the nearest one of each image of the bank in this range.

        Args:
            query: (n, channels).
            squares: (n,), |q|² of each.
        """
        assert self._bank is not None
        patches, channels = self._bank.shape[1:]
        flat = self._bank.reshape(-1, channels)
        found = []
        # As many patches at a time as an image has, in products of one shape: it scores the same alone as in company.
        for column in range(0, len(query), patches):
            turned = query.new_zeros(channels, patches)
            part = query[column : column + patches]
            turned[:, : len(part)] = part.T
            # |q - b|² = |q|² + |b|² - 2 q·b; the smallest over each image's patches. A part of the bank at a time:
            # products that stay in the processor's cache take a third less time, and have the same bits.
            parts = [
                torch.addmm(self._squares[rows], flat[rows], turned, alpha=-2.0).view(-1, patches, patches).amin(dim=1)
                for voters in range(start, end, _VOTERS)
                for rows in [slice(voters * patches, min(voters + _VOTERS, end) * patches)]
            ]
            found.append(torch.cat(parts).T[: len(part)])
        return torch.cat(found) + squares[:, None]

    def tensors(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        if self._bank is None:
            raise ValueError("PatchKnn needs to be fitted before it is saved.")
        contents = torch.from_numpy(np.frombuffer(b"".join(self._contents), dtype=np.uint8).copy())
        return {"bank": self._bank, "contents": contents}

    @classmethod
    def restore(cls, params: PatchKnnParams, tensors: Mapping[str, Tensor], device: torch.device) -> PatchKnn:
        """The detector of `tensors()`."""
        detector = cls(params, device)
        flat = tensors["contents"].cpu().numpy().tobytes()
        detector._hold(tensors["bank"].to(device), [flat[i : i + 16] for i in range(0, len(flat), 16)])
        return detector

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        write_saved(
            directory, self.tensors(), {"detector": "patch_knn", "patch_knn": self.params.model_dump(mode="json")}
        )

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> PatchKnn:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        tensors, description = read_saved(directory, ("bank", "contents"), target)
        try:
            return cls.restore(PatchKnnParams.model_validate(description["patch_knn"]), tensors, target)
        except (KeyError, ValueError) as error:
            raise InputError(f"{directory}: is not a saved PatchKnn ({str(error).splitlines()[0]}).") from None


class _Pool:
    """Patches of several images, `voted` on by so many of the bank.

    `bound` (n,) is the distance of the deciding vote so far. `owner` (n,) is the image that a patch is of.
    """

    def __init__(self, detector: PatchKnn, group: list[_Query], owner: Tensor) -> None:
        self._detector = detector
        self.owner = owner
        self.voted = 0
        self.bound = torch.empty(len(owner))
        self._query = torch.cat([query for query, _ in group])
        self._squares = torch.cat([query.square().sum(dim=1) for query, _ in group])
        self._nearest = torch.empty(len(owner), 0)
        self._silent = [itself for _, itself in group]
        self._votes = torch.tensor([detector._votes(itself) for itself in self._silent])

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, chosen: Tensor) -> _Pool:
        part = copy(self)
        for name in ("owner", "bound", "_query", "_squares", "_nearest"):
            setattr(part, name, getattr(self, name)[chosen])
        return part

    def vote(self, end: int) -> None:
        """Let the bank's images up to `end` vote."""
        more = self._detector._nearest(self._query, self._squares, self.voted, end)
        for image, itself in enumerate(self._silent):
            if here := [at - self.voted for at in itself if self.voted <= at < end]:
                more[(self.owner == image).nonzero(), torch.tensor(here)] = torch.inf
        self._nearest, self.voted = torch.cat([self._nearest, more], dim=1), end
        votes = self._votes[self.owner]
        different = votes.unique().tolist()
        if len(different) == 1:
            self.bound = _deciding(self._nearest, different[0])
            return
        for vote in different:
            of = votes == vote
            self.bound[of] = _deciding(self._nearest[of], vote)


def _deciding(nearest: Tensor, vote: int) -> Tensor:
    """(n,): the distance of the `vote`-th nearest image, of squared distances (n, images)."""
    return nearest.kthvalue(vote, dim=1).values.clamp_min(0.0).sqrt()


def _standardised(patches: NDArray[np.float32]) -> Tensor:
    """(images, patches, channels) less each image's mean, by its spread, channel by channel."""
    values = torch.from_numpy(np.ascontiguousarray(patches, dtype=np.float32))
    spread = values.std(dim=1, keepdim=True, correction=0)
    return (values - values.mean(dim=1, keepdim=True)) / spread.clamp_min(1e-6)


def _content(image: NDArray[np.float32]) -> bytes:
    return hashlib.md5(np.ascontiguousarray(image).tobytes(), usedforsecurity=False).digest()


def _patches(features: FeatureSet) -> NDArray[np.float32]:
    assert features.patches is not None
    return features.patches


def _contents(features: FeatureSet) -> list[bytes]:
    return [_content(image) for block in features.blocks() for image in _patches(block)]
