"""What is isolated and what the answers say, put together: which images are removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irp_core.refinement.careful.asking import Belief, believe, next_question
from irp_core.refinement.careful.isolation import Isolation, isolate
from irp_core.refinement.careful.landscape import Landscape

__all__ = ["Assessment", "ask_the_labels", "assessment"]


@dataclass(frozen=True)
class Assessment:
    """The isolation of a set and the belief about it; `belief` is None where nobody answered.

    `removed` (n,) are the images that go: what is isolated unless a person keeps it, and what the answers speak
    against.
    """

    landscape: Landscape
    isolation: Isolation
    belief: Belief | None
    removed: NDArray[np.bool_]


def assessment(
    landscape: Landscape, answers: Mapping[str, bool], *, expected: tuple[float, float] | None = None
) -> Assessment:
    """Assess a set.

    Args:
        landscape: of the set.
        answers: content → defective; contents of other sets are passed over.
        expected: the range of the share of defective images that the plant expects.
    """
    isolation = isolate(landscape, most=None if expected is None else expected[1])
    out = isolation.removed
    belief = None
    if set(answers) & set(landscape.contents):
        belief = believe(landscape, answers, expected=expected)
        kept = belief.answered & (belief.defective == 0.0)
        out = (out & ~kept) | belief.removed
    return Assessment(landscape, isolation, belief, out[landscape.of_image])


def ask_the_labels(
    landscape: Landscape,
    truth: Mapping[str, bool],
    count: int,
    answers: Mapping[str, bool] | None = None,
    *,
    expected: tuple[float, float] | None = None,
) -> dict[str, bool]:
    """Let the labels answer `count` questions: what a person would be asked, one after the other.

    Args:
        landscape: of the set.
        truth: content → defective.
        count: how many questions.
        answers: what was answered before.
        expected: see `assessment`.

    Returns:
        All answers.
    """
    given = dict(answers or {})
    for _ in range(count):
        question = next_question(landscape, believe(landscape, given, expected=expected))
        if question is None:
            break
        content = landscape.contents[question.content]
        given[content] = truth[content]
    return given
