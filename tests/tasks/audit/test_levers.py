"""Every setting that decides can be asked about after the run; one that decides nothing is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from irp_core import refine
from irp_core.config import Params, Refinement
from irp_core.errors import InputError
from tasks.audit.levers import Levers
from tasks.audit.whatif import suppose
from tests.conftest import TINY
from tests.sections import sections_of

MIXTURE = Refinement(method="robust")


@pytest.fixture(scope="module")
def careful(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    settings = sections_of([*TINY, "refinement.method=careful", "contamination.fraction=0.4"])
    return str(refine(plant, **settings).save(tmp_path_factory.mktemp("careful") / "run"))


def test_the_expected_share_decides_about_a_careful_run(careful: str) -> None:
    same = suppose(careful, Params())
    (row,) = same.iterations.to_dict("records")
    assert row["gained"] == row["lost"] == 0
    none, many = (suppose(careful, Params(), Levers(expected=(0.001, high))) for high in (0.001, 0.5))
    assert none.iterations["n_above"].item() == 0
    assert "changes" not in same.facts
    for answer in (none, many):
        idle = answer.iterations[["gained", "lost"]].to_numpy().sum() == 0
        assert ("changes" in answer.facts) == idle  # that it does nothing is said
    assert none.facts["what if"] == "isolated, expected 0.001"
    assert many.iterations["n_above"].item() >= row["n_above_then"]
    assert len(many.images) == many.iterations["n_above"].item() + many.iterations["lost"].item()


def test_another_rule_can_be_tried_on_a_careful_run(careful: str) -> None:
    looser = suppose(careful, Params(), Levers(rule="median_multiple", lambda_=1.01))
    assert looser.facts["what if"] == "median_multiple(1.01)"
    assert looser.iterations["n_above"].iloc[0] > 0


@pytest.mark.parametrize(
    ("refinement", "levers", "message"),
    [
        (Refinement(), Levers(fdr=0.1), r"--fdr 0.1: would change nothing: this run removed what stands alone"),
        (Refinement(), Levers(confidence=0.9), "--confidence 0.9: would change nothing"),
        (Refinement(), Levers(rule="iqr", lambda_=2.0), "expected the rule median_multiple"),
        (Refinement(method="irp"), Levers(expected=(0.1, 0.1)), "the rule median_multiple decides, and reads no"),
        (
            Refinement(method="irp"),
            Levers(confidence=0.5),
            r"expected the rule mixture \(--rule\)",
        ),
        (MIXTURE, Levers(fdr=2.0), "refinement.fdr must be less than 1"),
    ],
)
def test_a_setting_that_changes_nothing_is_refused(refinement: Refinement, levers: Levers, message: str) -> None:
    with pytest.raises(InputError, match=message):
        levers.apply(refinement)


def test_confidence_reaches_the_rule() -> None:
    changed = Levers(confidence=0.5).apply(MIXTURE)
    rule = Levers(confidence=0.5).rule_of(changed)
    assert rule is not None
    assert getattr(rule, "confidence") == 0.5  # noqa: B009
