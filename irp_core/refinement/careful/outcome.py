"""How a run ends, in words: clean as far as can be told, cleaned, or undecided and what to ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irp_core.refinement.careful.asking import Belief
from irp_core.refinement.careful.assessment import Assessment
from irp_core.refinement.careful.contamination_interval import ShareInterval
from irp_core.refinement.careful.isolation import Group, Isolation
from irp_core.refinement.careful.landscape import Landscape

__all__ = ["Outcome", "outcome"]

Kind = Literal["clean", "cleaned", "undecided"]
_DOUBTED = 0.2  # expected share of a group that the answers put on the wrong side: more, and it is open
_TOLERATED = 0.02  # share of single images that stand out and are still no question: some always do


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    `removed` (n,) are the images that are out. `groups` and `singles` are the open questions, as contents of the
    landscape. `sentences` say it: what was done, how sure that is, what is open, what decides it.
    """

    kind: Kind
    sentences: tuple[str, ...]
    removed: NDArray[np.bool_]
    groups: tuple[Group, ...]
    singles: tuple[int, ...]


def outcome(
    assessed: Assessment, *, members: Sequence[str], command: str, interval: ShareInterval | None = None
) -> Outcome:
    """State how a run ends.

    Removed images are undecided no longer. A group is open until a person answers for one of its images.

    Args:
        assessed: the isolation of the set, and what the answers say.
        members: the names of the detectors whose scores the landscape holds, in its order.
        command: what a user types to decide the open questions.
        interval: of the contamination; None where it is not known well enough.
    """
    landscape, isolation, belief = assessed.landscape, assessed.isolation, assessed.belief
    removed = assessed.removed
    out = np.zeros(len(landscape), dtype=bool)
    out[landscape.of_image[removed]] = True
    groups = tuple(group for group in isolation.groups if _is_open(group, belief))
    singles = tuple(place for place in isolation.singles if belief is None and not out[place])
    few = len(singles) <= _TOLERATED * len(landscape)
    settled: Kind = "cleaned" if removed.any() else "clean"
    kind: Kind = "undecided" if groups or not few else settled
    sentences = [_removal(landscape, isolation, belief, removed)]
    if belief is not None:
        sentences += _sureness(landscape, belief, interval)
    sentences += [_about(group, landscape, members) for group in groups]
    if singles:
        sentences.append(_alone(len(singles)))
    if kind == "undecided":
        sentences.append(f"`{command}` decides.")
    elif belief is None:
        sentences.append(
            "Defects that every detector takes for good images do not show in scores; "
            f"`{command}` tells how many there are."
        )
    return Outcome(kind, tuple(sentences), removed, groups, singles)


def _is_open(group: Group, belief: Belief | None) -> bool:
    """Whether nobody answered for the group, and the other answers do not say what it is."""
    if belief is None:
        return True
    members = list(group.members)
    chance = belief.defective[members]
    return not belief.answered[members].any() and float(np.minimum(chance, 1.0 - chance).mean()) > _DOUBTED


def _removal(landscape: Landscape, isolation: Isolation, belief: Belief | None, removed: NDArray[np.bool_]) -> str:
    total, gone = len(removed), int(removed.sum())
    if gone == 0:
        return f"None of {total} images is removed: none stands far from every kind of good image and alone."
    said = belief.answered & (belief.defective == 1.0) if belief is not None else np.zeros(len(landscape), dtype=bool)
    by_person = said[landscape.of_image] & removed
    alone = isolation.removed[landscape.of_image] & removed & ~by_person
    like_these = removed & ~by_person & ~alone
    reasons = [
        (int(by_person.sum()), "by a person's answer"),
        (int(like_these.sum()), "because the answers speak against {them}"),
        (int(alone.sum()), "because {they} far from every kind of good image and alone"),
    ]
    parts = [
        f"{count} " + text.format(them=_plural(count, "it", "them"), they=_plural(count, "it stands", "they stand"))
        for count, text in reasons
        if count
    ]
    return f"{gone} of {total} images {_plural(gone, 'is', 'are')} removed: {', '.join(parts)}."


def _sureness(landscape: Landscape, belief: Belief, interval: ShareInterval | None) -> list[str]:
    count, bad = int(belief.answered.sum()), int((belief.answered & (belief.defective == 1.0)).sum())
    sentences = [f"{count} {_plural(count, 'answer', 'answers')}, {bad} of them defective."]
    if belief.one_sided:
        sentences.append(
            "Nearly all of them name a defect, so they tell of the images they name and of no other; answers about "
            "good images, too, would tell of the rest."
        )
    elif bad:
        sentences.append(
            f"About {belief.good_removed:.0f} good images are expected among the removed, "
            f"about {belief.defects_left:.0f} defective ones among the kept."
        )
    if interval is not None:
        sentences.append(
            f"Contamination: {interval.share:.0%} "
            f"({interval.level:.0%} interval {interval.low:.0%} to {interval.high:.0%})."
        )
    return sentences


def _about(group: Group, landscape: Landscape, members: Sequence[str]) -> str:
    count = round(group.share * len(landscape.of_image))
    detector = "all detectors together" if group.detector is None else members[group.detector]
    return (
        f"{count} images stand apart from the rest, by {detector}: "
        f"another kind of good image, or a defect that occurs often."
    )


def _alone(count: int) -> str:
    return f"{count} more {_plural(count, 'stands', 'stand')} out, not far enough to be removed without asking."


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
