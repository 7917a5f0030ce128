"""What a run says at its end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from irp_core.refinement.careful.assessment import assessment
from irp_core.refinement.careful.contamination_interval import share_interval
from irp_core.refinement.careful.isolation import isolate
from irp_core.refinement.careful.landscape import Landscape
from irp_core.refinement.careful.outcome import Outcome, outcome
from tests.irp_core.refinement.careful.plant import plant
from tests.irp_core.refinement.careful.test_asking import asked, held

MEMBERS = ("gaussian", "patch_knn", "kurtosis")
COMMAND = "irp review RUN --ask 30"


def ended(lay: Landscape, answers: Mapping[str, bool] | None = None) -> Outcome:
    assessed = assessment(lay, answers or {})
    interval = None if assessed.belief is None else share_interval(lay, assessed.belief)
    return outcome(assessed, members=MEMBERS, command=COMMAND, interval=interval)


def test_a_clean_set_is_clean_as_far_as_can_be_told() -> None:
    ends = [ended(held(plant(200, seed=seed))) for seed in range(12)]
    clean = [end for end in ends if end.kind == "clean"]
    assert len(clean) >= 6
    assert clean[0].sentences[0].startswith("None of 200 images is removed")
    assert not any(end.removed.any() for end in clean)
    assert COMMAND in clean[0].sentences[-1]


def test_two_kinds_are_a_question_until_it_is_answered() -> None:
    made = plant(200, seed=2, second_kind=0.3)
    before = ended(held(made))
    assert before.kind == "undecided"
    assert any("stand apart from the rest, by" in sentence for sentence in before.sentences)
    assert before.sentences[-1] == f"`{COMMAND}` decides."
    lay, _, answers = asked(made, 30)
    after = ended(lay, answers)
    assert after.kind == "clean"
    assert "30 answers, 0 of them defective." in after.sentences
    assert any(
        sentence.startswith("Contamination: ") and "90% interval 0% to" in sentence for sentence in after.sentences
    )


def test_a_cleaned_set_says_which_were_removed_and_how_sure_that_is() -> None:
    made = plant(200, 0.2, seed=3)
    lay, _, answers = asked(made, 30)
    end = ended(lay, answers)
    assert end.kind == "cleaned"
    gone = int(end.removed.sum())
    assert end.sentences[0].startswith(f"{gone} of 200 images are removed: ")
    assert f"{sum(answers.values())} by a person's answer" in end.sentences[0]
    assert any("good images are expected among the removed" in sentence for sentence in end.sentences)


def test_a_person_keeps_what_would_be_removed_alone() -> None:
    made = plant(200, 0.05, seed=1, seen=9.0)
    lay = held(made)
    isolated = np.flatnonzero(isolate(lay).removed)
    assert isolated.size
    first = int(isolated[0])
    end = ended(lay, {lay.contents[first]: False})
    assert not end.removed[lay.of_image == first].any()
    assert end.removed[lay.of_image == int(isolated[-1])].all() or isolated.size == 1


def test_no_interval_is_said_where_there_is_none() -> None:
    lay = held(plant(120, 0.3, seed=0))
    assert not any("Contamination" in sentence for sentence in ended(lay).sentences)
