"""The table of methods: whatever names, orders, labels or sets a method reads it, and it says what it said."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from irp_core.config import Refinement, Sweep
from irp_core.detectors import DETECTORS
from irp_core.errors import InputError
from irp_core.methods import METHODS, in_order, iterative
from irp_core.params_file import load_params
from irp_core.plots import iteration_curves
from irp_core.refinement.policy import Policy, epochs_per_iteration, policy_of
from irp_core.rules import Mad, MedianMultiple

ROOT = Path(__file__).parents[2]
IRP = Policy(MedianMultiple(1.25), "all_above", "warm_start", 10, 0.5)
NULL_KEYS = {"rule", "score_on", "reversible", "retrain", "detector", "confidence", "start"}


def test_methods_are_settings_of_one_loop() -> None:
    policies = {method: policy_of(Refinement(method=method)) for method in METHODS}
    assert policies["vanilla"].max_iterations == policies["equal_epochs"].max_iterations == 0
    assert (policies["osr"].max_iterations, policies["osr"].removal) == (1, "all_above")
    assert policies["irp"] == IRP
    assert (policies["irp_max_one"].removal, policies["irp_max_one"].max_iterations) == ("max_one", 15)
    assert (policies["oracle"].selection, policies["oracle"].retrain) == ("oracle", "scratch")
    copied = policy_of(Refinement(method="random"), random_counts=(4, 1))
    assert (copied.selection, copied.max_iterations, copied.random_counts) == ("random", 2, (4, 1))


def test_a_null_setting_is_the_methods_own_and_a_given_one_rules() -> None:
    ours, paper = policy_of(Refinement(method="robust")), policy_of(Refinement(method="irp"))
    assert (ours.rule.name, ours.score_on, ours.reversible, ours.detector) == (
        "mixture",
        "out_of_fold",
        True,
        "consensus",
    )
    assert (ours.confidence, ours.start, paper.confidence) == (0.95, "ordinary", 0.0)
    assert (paper.rule.name, paper.score_on, paper.reversible, paper.detector) == (
        "median_multiple", "in_sample", False, None,
    )  # fmt: skip
    given = policy_of(Refinement(method="robust", rule="mad", detector="gaussian", reversible=False))
    assert (given.rule, given.detector, given.reversible) == (Mad(3.0), "gaussian", False)


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        (["refinement.method=irp"], 5),
        (["refinement.method=irp_max_one"], 3),  # 15 x 3 is about as much as 10 x 5
        (["refinement.method=irp_max_one", "refinement.max_iterations=1"], 1),
        (["refinement.method=irp_max_one", "refinement.retrain=scratch"], 20),
        (["refinement.method=oracle"], 20),  # always from scratch
    ],
)
def test_both_irps_may_train_as_long(overrides: list[str], epochs: int) -> None:
    assert epochs_per_iteration(load_params(None, overrides)) == epochs


def test_methods_come_after_those_they_build_on() -> None:
    assert in_order(["equal_epochs", "vanilla"]) == ["vanilla", "irp", "equal_epochs"]
    assert in_order(["oracle", "osr", "vanilla"]) == ["vanilla", "osr", "oracle"]
    names = list(METHODS)
    for name, method in METHODS.items():
        assert method.builds_on is None or names.index(method.builds_on) < names.index(name)
        assert method.name == name


def test_what_a_method_does_follows_from_its_settings() -> None:
    assert iterative() == ("irp_max_one", "irp", "robust")
    by_score = [name for name, method in METHODS.items() if method.removes_by_score]
    assert by_score == ["osr", *iterative(), "careful", "answered"]
    assert [name for name, method in METHODS.items() if method.reads_injected] == ["answered", "oracle"]


def test_no_two_methods_look_or_read_alike() -> None:
    for values in (
        [method.label for method in METHODS.values()],
        [method.summary for method in METHODS.values()],
        [method.style.colour for method in METHODS.values()],
        [method.style.marker for method in METHODS.values()],
    ):
        assert len(set(values)) == len(METHODS)


def test_presets_name_what_the_section_leaves_null() -> None:
    assert {name for name, value in Refinement() if value is None} - {"k", "expected"} == NULL_KEYS
    for method in METHODS.values():
        assert set(method.preset) == NULL_KEYS
        assert method.preset["detector"] is None or method.preset["detector"] in DETECTORS
        Refinement(method=method.name, **method.preset)  # each is a valid setting


@pytest.mark.parametrize(
    ("override", "key"),
    [("refinement.method=magic", "refinement.method"), ("sweep.methods=[irp,magic]", "sweep.methods.1")],
)
def test_an_unknown_method_is_answered_with_all_there_are(override: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        load_params(None, [override])
    *others, last = (repr(name) for name in METHODS)
    assert f"{key} must be {', '.join(others)} or {last}. Got 'magic'." in str(caught.value)


def test_every_method_may_be_swept() -> None:
    assert Sweep(methods=tuple(METHODS)).methods == tuple(METHODS)


def test_params_yaml_names_every_method_and_every_preset() -> None:
    section = (ROOT / "params.yaml").read_text().split("\nrefinement:")[1].split("\n\n")[0]
    comments = dict(re.findall(r"^  (\w+):[^#]*(# .*(?:\n +# .*)*)$", section, flags=re.MULTILINE))
    assert set(re.findall(r"\w+", comments["method"])) >= set(METHODS)
    ours, paper = METHODS["robust"].preset, METHODS["irp"].preset
    for key in NULL_KEYS:
        said = {"None": "the detector that is trained", "True": "true", "False": "false", "0.0": "0"}
        robust, other = (said.get(str(preset[key]), str(preset[key])) for preset in (ours, paper))
        assert f"null: {other}; with robust {robust}" in comments[key], key


def test_every_method_of_a_comparison_is_drawn_in_its_own_colour() -> None:
    iterations = pd.DataFrame({"iteration": [0, 1], "n_train": [10, 9], "auroc": [0.8, 0.9]})
    top = iteration_curves(iterations, dict.fromkeys(METHODS, 0.5)).axes[0]
    drawn = {line.get_label().split()[0]: line.get_color() for line in top.get_lines()[1:]}
    assert drawn == {name: method.style.colour for name, method in METHODS.items()}
