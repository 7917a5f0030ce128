"""Champion against challenger: the table of checks, what they come to, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from irp_core.config.lines import PromotionPolicy
from irp_core.promotion.checks import Check, check_table
from irp_core.promotion.evidence import ModelEvidence
from irp_core.promotion.labelled import labelled_checks
from irp_core.promotion.unlabelled import alarm_share, drift, flipped, flips, history_checks, untrained

__all__ = ["Comparison", "compare"]

Outcome = Literal["promote", "refuse", "ask"]


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        champion: name of the model in service; None where there is none.
        checks: columns `check`, `verdict` (`pass`, `veto`, `open`), `value`, `bound` (null where nothing could be
            measured), `sentence`, `labelled` (whether it rests on labels).
        flips: the images on which the two decide differently, with both scores and thresholds.
        verdict: `promote` without asking, `refuse`, or `ask` a person.
        reason: one or two sentences.
    """

    champion: str | None
    challenger: str
    checks: pd.DataFrame
    flips: pd.DataFrame
    verdict: Outcome
    reason: str


def compare(champion: ModelEvidence | None, challenger: ModelEvidence, policy: PromotionPolicy) -> Comparison:
    """Compare a challenger with the champion.

    A veto refuses it under every policy. Without one, `manual` asks; `always` promotes; `golden` promotes if every
    labelled check passes, and asks if one cannot tell. A person may decide otherwise.

    Args:
        champion: the model in service; None: there is none yet.
        challenger: its `history` is that of the versions before it.

    Raises:
        InputError: the evidence is not what it should be.

    Example:
        >>> scores = pd.DataFrame({"image_id": ["a", "b"], "md5": ["a", "b"], "score": [0.1, 0.2]})
        >>> old, new = (ModelEvidence(f"line3/{k}", 0.5, 0.05, scores) for k in (1, 2))
        >>> result = compare(old, new, PromotionPolicy(mode="golden"))
        >>> result.verdict, len(result.flips)
        ('ask', 0)
    """
    images = untrained(champion, challenger)
    rows = pd.DataFrame() if champion is None else flipped(champion, challenger, images)
    checks = [alarm_share(champion, challenger, images, policy), *history_checks(challenger, policy)]
    if champion is not None:
        checks += [flips(rows, len(images), policy), drift(champion, policy)]
    checks += labelled_checks(champion, challenger, policy)
    verdict, reason = _verdict(checks, policy, first=champion is None)
    known = None if champion is None else champion.name
    return Comparison(known, challenger.name, check_table(checks), rows, verdict, reason)


def _verdict(checks: list[Check], policy: PromotionPolicy, *, first: bool) -> tuple[Outcome, str]:
    vetoes = [check for check in checks if check.verdict == "veto"]
    if vetoes:
        return "refuse", " ".join(check.sentence for check in vetoes)
    against = "It is the first version" if first else "No check speaks against it"
    if policy.mode == "manual":
        return "ask", f"{against}; the line's policy leaves the decision to a person."
    if policy.mode == "always":
        return "promote", f"{against}, and the line's policy promotes such a version."
    unsure = [check for check in checks if check.labelled and check.verdict == "open"]
    if unsure:
        return "ask", f"{against}, but the labelled images cannot tell: {' '.join(check.sentence for check in unsure)}"
    return "promote", f"{against}, and the labelled images speak for it."
