"""The methods, stated once: what each is called, what it does, and which settings of the one loop it is.

Imports nothing of the package, so that the parameters can be checked against it (`irp_core.config`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["METHODS", "Method", "Style", "in_order", "iterative"]

_PAPER = {
    "rule": "median_multiple",
    "score_on": "in_sample",
    "reversible": False,
    "retrain": "warm_start",
    "detector": None,
    "confidence": 0.0,
    "start": "all",
}
# What only the training's methods need: they read no scores.
_UNSCORED = {"score_on": "in_sample", "reversible": False, "detector": None}


# One round over scores of detectors that did not train on the image: nothing that went comes back.
_ONE_ROUND = {"score_on": "out_of_fold", "reversible": False, "max_iterations": 1}


@dataclass(frozen=True)
class Style:
    """How a method is drawn. Colours are Okabe and Ito's; marker and dash tell it apart in grey."""

    colour: str
    marker: str
    dash: Literal["-", "--", ":"] = "-"


@dataclass(frozen=True)
class Method:
    """One setting of the loop in `flows/refine.py`.

    `preset` holds where a key of section `refinement` is null; `changes` hold whatever the section says (the names are
    those of `irp_core.refinement.policy.Policy`).
    """

    name: str
    label: str
    """In figures and tables."""
    summary: str
    """One line, for people who choose."""
    style: Style
    preset: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType(_PAPER))
    changes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    iterations_key: str = "max_iterations"
    """The key of section `refinement` that limits its iterations, unless `changes` do."""
    builds_on: str | None = "vanilla"
    """The method whose run it takes something over from: the pre-trained detector, or what it `copies`."""
    copies: Literal["removals", "epochs"] | None = None
    """What a control takes over from `builds_on`, which is then always run, too."""
    in_paper: str | None = None
    """Name under which the paper reports it (`irp_core/paper/reference.yaml`)."""

    @property
    def reads_injected(self) -> bool:
        """Whether it reads what only an experiment knows: which images were injected."""
        return self.changes.get("selection") in ("oracle", "answered")

    @property
    def removes_by_score(self) -> bool:
        """Whether it removes images because of their scores."""
        by_score = self.changes.get("selection", "scores") in ("scores", "isolated", "answered")
        return by_score and self.changes.get("max_iterations") != 0

    @property
    def iterative(self) -> bool:
        """Whether it removes by score and retrains, again and again: what an iterative refinement is."""
        return self.removes_by_score and "max_iterations" not in self.changes

    @property
    def trains_long(self) -> bool:
        """Whether it trains for several times as long as `vanilla`: after each of many removals, or as a control."""
        return self.iterative or self.copies is not None


def _unscored(**changes: Any) -> Mapping[str, Any]:
    return MappingProxyType({**_UNSCORED, **changes})


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(
                "vanilla",
                "vanilla",
                "train once, remove nothing",
                Style("#777777", "o"),
                changes=_unscored(max_iterations=0),
                builds_on=None,
                in_paper="vanilla",
            ),
            Method(
                "osr",
                "OSR",
                "one-shot removal: one iteration that removes all above the threshold, then fine-tuning",
                Style("#d55e00", "s"),
                changes=MappingProxyType(
                    {"max_iterations": 1, "removal": "all_above", "retrain": "warm_start", "reversible": False}
                ),
                in_paper="osr",
            ),
            Method(
                "irp_max_one",
                "IRP, one at a time",
                "the paper's Algorithm 1: only the highest score is removed, if it exceeds the threshold",
                Style("#56b4e9", "^"),
                changes=MappingProxyType({"removal": "max_one"}),
                iterations_key="max_one_iterations",
                in_paper="irp",
            ),
            Method(
                "irp",
                "IRP, all above",
                "the paper's iterative refinement process (eq. 6, all above the threshold are removed)",
                Style("#0072b2", "D"),
                in_paper="irp",
            ),
            Method(
                "robust",
                "robust",
                "iterative refinement on out-of-fold scores that stops where nothing is wrong, and can take back",
                Style("#000000", "X"),
                preset=MappingProxyType(
                    {
                        "rule": "mixture",
                        "score_on": "out_of_fold",
                        "reversible": True,
                        "retrain": "scratch",
                        "detector": "consensus",
                        "confidence": 0.95,
                        "start": "ordinary",
                    }
                ),
            ),
            Method(
                "careful",
                "careful",
                "remove only what stands alone and far from every kind of good image, and ask about the rest",
                Style("#882255", "p"),
                preset=MappingProxyType({**_PAPER, "retrain": "scratch"}),
                changes=MappingProxyType({**_ONE_ROUND, "selection": "isolated"}),
            ),
            Method(
                "answered",
                "careful, after answers",
                "careful, after `refinement.answers` answers that the labels give: an experiment (reads `injected`)",
                Style("#117733", "h", "--"),
                preset=MappingProxyType({**_PAPER, "retrain": "scratch"}),
                changes=MappingProxyType({**_ONE_ROUND, "selection": "answered"}),
            ),
            Method(
                "random",
                "random removal",
                "remove as many images per iteration as IRP did, at random: a control",
                Style("#cc79a7", "v", "--"),
                changes=_unscored(selection="random"),
                builds_on="irp",
                copies="removals",
            ),
            Method(
                "equal_epochs",
                "equal epochs",
                "train once for as many epochs as IRP trained in all: a control",
                Style("#e69f00", "P", "--"),
                changes=_unscored(max_iterations=0),
                builds_on="irp",
                copies="epochs",
            ),
            Method(
                "oracle",
                "oracle",
                "remove exactly the injected images, then train from scratch: the ceiling (reads `injected`)",
                Style("#009e73", "*", ":"),
                changes=_unscored(max_iterations=1, retrain="scratch", selection="oracle"),
            ),
        )
    }
)
"""By name, in the order in which they are run, drawn and listed: each after the one it builds on."""


def in_order(names: Iterable[str]) -> list[str]:
    """`names` so that each comes after those it builds on, and besides them what a control copies.

    Example:
        >>> in_order(["random", "vanilla"])  # the control copies what `irp` removed
        ['vanilla', 'irp', 'random']
    """
    wanted = set(names)
    wanted |= {method.builds_on for name in names if (method := METHODS[name]).copies and method.builds_on}
    return [name for name in METHODS if name in wanted]


def iterative() -> tuple[str, ...]:
    """The names of the iterative refinements."""
    return tuple(name for name, method in METHODS.items() if method.iterative)
