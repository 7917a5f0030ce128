"""Which settings decide about removal in a run, and which would change nothing: said before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from irp_core.config import Refinement
from irp_core.errors import InputError
from irp_core.params_file import checked_params
from irp_core.refinement.policy import Policy, policy_of
from irp_core.rules import RULES, Rule

__all__ = ["Levers"]


@dataclass(frozen=True)
class Levers:
    """What is to be another than it was in the run; None: as it was.

    Attributes:
        rule: a name of `irp_core.rules.RULES`.
        lambda_, k, fdr: the number of a rule.
        confidence: of the lower bound that `mixture` heeds.
        expected: the share of defective images that the plant expects, as (low, high).
    """

    rule: str | None = None
    lambda_: float | None = None
    k: float | None = None
    fdr: float | None = None
    confidence: float | None = None
    expected: tuple[float, float] | None = None

    @property
    def of_a_rule(self) -> dict[str, float]:
        """The numbers that only a rule reads, by their option's name."""
        numbers = {"lambda": self.lambda_, "k": self.k, "fdr": self.fdr, "confidence": self.confidence}
        return {name: value for name, value in numbers.items() if value is not None}

    def apply(self, refinement: Refinement) -> Refinement:
        """The settings with these changes.

        Raises:
            InputError: a number out of range, or one that would change nothing in this run.
        """
        policy = policy_of(refinement)
        self._refuse_idle(policy)
        changes: dict[str, Any] = {"rule": self.rule, **self.of_a_rule, "expected": self.expected}
        plain = {**refinement.model_dump(), **{name: value for name, value in changes.items() if value is not None}}
        if self.rule is not None and self.k is None:
            plain["k"] = None  # another rule's k means nothing here
        return checked_params({"refinement": plain}, "irp whatif").refinement

    def rule_of(self, refinement: Refinement) -> Rule | None:
        """The threshold rule of `apply`'s result; None where no rule decides."""
        policy = policy_of(refinement)
        if policy.sees_landscape and self.rule is None:
            return None
        if self.rule is None:
            return policy.rule
        confidence = refinement.confidence if refinement.confidence is not None else policy.confidence
        return RULES[self.rule].of(refinement, confidence)

    def _refuse_idle(self, policy: Policy) -> None:
        by_landscape = policy.sees_landscape and self.rule is None
        if self.expected is not None and not by_landscape:
            decides = f"the rule {self.rule or policy.rule.name}"
            raise InputError(
                f"irp whatif --expected: would change nothing: {decides} decides, and reads no expected share; the "
                "methods careful and answered read it."
            )
        wanted = self.rule or policy.rule.name
        for setting, value in self.of_a_rule.items():
            option = f"irp whatif --{setting} {value:g}"
            if by_landscape:
                raise InputError(
                    f"{option}: would change nothing: this run removed what stands alone and apart, by no rule; name a "
                    "rule (--rule), or another expected share (--expected)."
                )
            kinds = [kind.name for kind in RULES.values() if kind.setting == setting]
            if setting == "confidence":
                kinds = ["mixture"]
            if wanted not in kinds:
                raise InputError(f"{option}: expected the rule {' or '.join(kinds)} (--rule), found {wanted}.")
