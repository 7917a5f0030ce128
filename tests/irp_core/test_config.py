"""Parameters: the file equals the defaults, and mistakes are explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from irp_core.config import Params, digest
from irp_core.errors import InputError
from irp_core.params_file import load_params

ROOT = Path(__file__).parents[2]


def test_params_yaml_holds_the_defaults() -> None:
    assert load_params(ROOT / "params.yaml") == Params()


def test_every_key_of_params_yaml_is_commented() -> None:
    text = (ROOT / "params.yaml").read_text()
    for name, section in Params():
        for key in section.model_dump():
            (line,) = [
                line for line in text.split(f"\n{name}:")[1].split("\n\n")[0].splitlines() if f"  {key}:" in line
            ]
            assert "#" in line, line


def test_paper_profile_is_valid() -> None:
    paper = load_params(ROOT / "params" / "paper.yaml")
    assert (paper.images.size, paper.differnet.hidden) == (448, 2048)
    assert paper.training.epochs * paper.views.train == 400 * 4  # the paper draws 4 views at random, this bank is fixed
    assert paper.views.train == paper.views.score, "angles are scored that nothing was trained on"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("refinement.lamda=2", "unknown key 'refinement.lamda'; did you mean 'lambda'?"),
        ("refinment.lambda=2", "unknown key 'refinment'; did you mean 'refinement'?"),
        ("contamination.fraction=1.5", "contamination.fraction must be less than 1. Got 1.5."),
        ("refinement.lambda=0.9", "refinement.lambda must be greater than 1. Got 0.9."),
        ("views.train=65", "views.train must be less than or equal to 64. Got 65."),
        ("features.backbone=vgg", "features.backbone must be 'bundled', 'resnet18' or 'alexnet'. Got 'vgg'."),
        ("training.learning_rate=.nan", "training.learning_rate must be a finite number. Got nan."),
        ("sweep.levels=[0, 60]", "sweep.levels must be at most max_level (50). Got [0, 60]."),
        ("sweep.seeds=[1, 1]", "sweep.seeds must name each value once. Got [1, 1]."),
        ("sweep.methods=[magic]", "sweep.methods.0 must be"),
        ("nonsense", "expected section.key=value"),
    ],
)
def test_mistakes_name_key_bound_and_value(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_params(None, [override])
    assert message in str(caught.value)


def test_overrides_read_numbers_as_people_write_them() -> None:
    params = load_params(None, ["training.learning_rate=2e-3", "features.scales=[64,32]", "features.weights=a.pt"])
    assert params.training.learning_rate == 2e-3
    assert params.features.scales == (64, 32)
    assert params.features.weights == "a.pt"


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- 1", "expected sections")])
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_params(file)
    assert "p.yaml" in str(caught.value)


def test_digest_depends_on_values_not_on_key_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(Params()) != digest(load_params(None, ["run.seed=1"]))


def test_an_entitys_own_epochs_take_the_retraining_along() -> None:
    params = load_params(None, ["sweep.epochs={bottle: 70}"])
    assert params.sweep.training_of("bottle", params.training).retrain_epochs == 18  # 5 of 20, of 70
    assert params.sweep.training_of("other", params.training) == params.training


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES: dict[str, tuple[bytes, str]] = {
    "an alias bomb": (BOMB.encode(), "at most 10,000 values"),
    "an alias of itself": (b"a: &a [*a]", "contains itself"),
    "UTF-16": ("run: {seed: 1}".encode("utf-16"), "expected text in UTF-8"),
    "Latin-1": ("run: {directory: Läufe}".encode("latin-1"), "expected text in UTF-8"),
    "a null byte": (b"run: {seed: \x00}", "not valid YAML"),
    "deep nesting": (b"run: " + b"[" * 50_000, "nested too deeply"),
    "a date that is none": (b"run: {seed: 2024-13-45}", "not valid YAML"),
    "a large file": (b"#" * 2_000_000, "at most 1,000,000 bytes"),
    "an object of Python": (b"run: !!python/object/apply:os.system [x]", "not valid YAML"),
    "a list": (b"[1]", "expected sections with keys"),
    "numbers for sections": (b"1: {2: 3}", "expected sections by name, found 1"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_params_file_is_one_sentence(name: str, tmp_path: Path) -> None:
    content, message = FILES[name]
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        load_params(file)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("run: {seed: 5}".encode("utf-8-sig"))
    assert load_params(tmp_path / "params.yaml").run.seed == 5
