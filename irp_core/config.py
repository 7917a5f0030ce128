"""The parameters: one frozen pydantic model per section of `params.yaml`.

The defaults here and the values in `params.yaml` are the same (a test compares them), so the package
works without the file.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from irp_core.methods import METHODS
from irp_core.rules import RULES

__all__ = [
    "Contamination",
    "Dataset",
    "DetectorParams",
    "DifferNetParams",
    "Features",
    "Figures",
    "Images",
    "Operating",
    "Params",
    "PatchKnnParams",
    "Refinement",
    "Review",
    "Run",
    "Snapshots",
    "Sweep",
    "Tracking",
    "Training",
    "Views",
    "digest",
]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
Percent = Annotated[int, Field(ge=0, lt=100)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


# Methods and rules are listed where they are defined; pydantic names them in its errors.
if TYPE_CHECKING:
    MethodName = str
    RuleName = str
else:
    MethodName = Literal[tuple(METHODS)]
    RuleName = Literal[tuple(RULES)]
Start = Literal["all", "ordinary"]
"""Of the first decision round: all images, or those that a local detector finds ordinary."""
DetectorName = Annotated[
    str, Field(pattern=r"^(differnet|gaussian|patch_knn|kurtosis|consensus|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")
]
"""A detector of this package, or `package.module:Class` of another."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, serialize_by_alias=True
    )


class Dataset(_Section):
    layout: Literal["auto", "folder", "mvtec", "mtd", "ksdd2"] = "auto"
    test_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    good_names: Annotated[tuple[Annotated[str, Field(pattern=r"\w")], ...], Field(min_length=1)] = (
        "good",
        "ok",
        "normal",
        "pass",
        "passed",
        "defect_free",
        "no_defect",
        "gut",
        "io",
    )
    near_copies: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.9


class Contamination(_Section):
    protocol: Literal["fraction_of_set", "fraction_added", "fraction_of_defects"] = "fraction_of_set"
    fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    max_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    set_size: Positive | None = None
    defect_pool: Fraction = 0.5
    overlap: bool = False

    @model_validator(mode="after")
    def _sweep_covers_fraction(self) -> Contamination:
        if self.max_fraction is not None and self.fraction > self.max_fraction:
            raise ValueError(f"fraction must be at most max_fraction ({self.max_fraction}). Got {self.fraction}.")
        return self


class Images(_Section):
    size: Annotated[int, Field(ge=32, le=2048)] = 256
    crop: Literal["none", "center"] = "none"
    range: tuple[float, float] | None = None
    max_pixels: Positive = 180_000_000
    max_bytes: Positive = 1_000_000_000

    @model_validator(mode="after")
    def _black_below_white(self) -> Images:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range must be the values of black and white, black below white. Got {list(self.range)}.")
        return self

    def pixels(self) -> dict[str, Any]:
        """What an image's pixels depend on. `range` only where it is set: features that were stored before there was
        such a key are still found."""
        return self.model_dump(mode="json", exclude={"max_pixels", "max_bytes"} | (set() if self.range else {"range"}))

    def set_keys(self) -> dict[str, Any]:
        """As `pixels`, with the bounds where they are not the defaults."""
        bounds = {"max_pixels": self.max_pixels, "max_bytes": self.max_bytes}
        return self.pixels() | {key: at for key, at in bounds.items() if at != Images.model_fields[key].default}


class Views(_Section):
    train: Annotated[int, Field(ge=1, le=64)] = 4
    score: Annotated[int, Field(ge=1, le=64)] = 4
    jitter_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def bank(self) -> int:
        """Number of views that the store has to hold per image."""
        return max(self.train, self.score)


class Features(_Section):
    backbone: Literal["bundled", "resnet18", "alexnet"] = "bundled"
    weights: str | None = None
    layers: tuple[str, ...] | None = None
    scales: tuple[Annotated[int, Field(ge=32, le=2048)], ...] = (256, 128, 64)
    patch_grid: Annotated[int, Field(ge=2, le=64)] = 8
    patch_channels: Annotated[int, Field(ge=2, le=2048)] = 64
    kurtosis_scale: Annotated[int, Field(ge=128, le=2048)] = 384  # below, too few cells are left for a fourth moment
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Positive = 8
    workers: Positive = 2
    device: str = "auto"
    store: str = ".irp/features"


class DetectorParams(_Section):
    name: DetectorName = "differnet"


class DifferNetParams(_Section):
    blocks: Positive = 8
    hidden: Positive = 128
    clamp: Annotated[float, Field(gt=0.0)] = 3.0
    standardize: bool = True


class PatchKnnParams(_Section):
    votes: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    worst: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    bank: Annotated[int, Field(ge=2)] = 512


class Training(_Section):
    epochs: Positive = 20
    retrain_epochs: Positive = 5
    batch_size: Positive = 96
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-4
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    eps: Annotated[float, Field(gt=0.0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-5


class Refinement(_Section):
    """Where a key is null the method's own setting holds (`irp_core.methods.METHODS`)."""

    method: MethodName = "robust"
    detector: DetectorName | None = None
    score_on: Literal["in_sample", "out_of_fold"] | None = None
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    repeats: Annotated[int, Field(ge=1, le=20)] = 2
    reversible: bool | None = None
    rule: RuleName | None = None
    # `lambda` is a word of Python's own; in files, overrides and dumps the key is the paper's.
    lambda_: Annotated[float, Field(gt=1.0, alias="lambda")] = 1.25
    k: Annotated[float, Field(gt=0.0)] | None = None
    fdr: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    confidence: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    start: Start | None = None
    members: Annotated[tuple[DetectorName, ...], Field(min_length=1)] = ("gaussian", "patch_knn", "kurtosis")
    expected: Share | tuple[Share, Share] | None = None
    answers: Annotated[int, Field(ge=0)] = 30
    removal: Literal["max_one", "all_above"] = "all_above"
    retrain: Literal["scratch", "warm_start"] | None = None
    max_iterations: Annotated[int, Field(ge=0)] = 10
    max_one_iterations: Positive = 15
    max_removed_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5

    @property
    def expected_range(self) -> tuple[float, float] | None:
        """The expected share of defective images, as a range."""
        if self.expected is None or isinstance(self.expected, tuple):
            return self.expected
        return self.expected, self.expected

    @model_validator(mode="after")
    def _range_is_in_order(self) -> Refinement:
        if isinstance(self.expected, tuple) and self.expected[0] > self.expected[1]:
            raise ValueError(f"expected must be a share or a range from low to high. Got {list(self.expected)}.")
        return self


class Operating(_Section):
    false_alarm_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    folds: Annotated[int, Field(ge=2, le=50)] = 5


class Review(_Section):
    decisions: str | None = "decisions.csv"
    required: bool = False
    borderline: Fraction = 0.1
    timeout: Positive = 86400

    @model_validator(mode="after")
    def _decisions_have_a_place(self) -> Review:
        if self.required and self.decisions is None:
            raise ValueError("decisions must name a file where review.required is true. Got None.")
        return self


class Tracking(_Section):
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "irp"
    keep_weights: Literal["all", "first_and_last", "last"] = "first_and_last"
    registered_model: str | None = None


class Snapshots(_Section):
    enabled: bool = True
    directory: str = "snapshots"
    link: Literal["auto", "copy"] = "auto"


class Run(_Section):
    seed: Seed = 0
    directory: str = "runs"
    outputs: Literal["full", "tables"] = "full"


class Sweep(_Section):
    """What `dvc repro` runs: every entity at every noise level, with every seed and method."""

    entities: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], ...], Field(min_length=1)] = ("demo",)
    levels: Annotated[tuple[Percent, ...], Field(min_length=1)] = (0, 10, 20, 30, 40, 50)
    max_level: Annotated[int, Field(ge=1, lt=100)] = 50
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    methods: Annotated[tuple[MethodName, ...], Field(min_length=1)] = (
        "vanilla",
        "osr",
        "irp_max_one",
        "irp",
        "random",
        "equal_epochs",
        "oracle",
    )
    epochs: dict[str, Positive] = {"demo": 30, "mtd": 30, "bottle": 70}
    demo_size: Annotated[int, Field(ge=64, le=1024)] = 256

    def training_of(self, entity: str, training: Training) -> Training:
        """`training` with the entity's own epochs where `epochs` names it, and `retrain_epochs` in proportion."""
        epochs = self.epochs.get(entity, training.epochs)
        again = max(1, round(training.retrain_epochs * epochs / training.epochs))
        return training.model_copy(update={"epochs": epochs, "retrain_epochs": again})

    @model_validator(mode="after")
    def _each_once_and_below_the_highest(self) -> Sweep:
        for name in ("entities", "levels", "seeds", "methods"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must name each value once. Got {list(values)}.")
        if max(self.levels) > self.max_level:
            raise ValueError(f"levels must be at most max_level ({self.max_level}). Got {list(self.levels)}.")
        return self


class Figures(_Section):
    """How the paper's figures are drawn; nothing here changes a number."""

    width: Annotated[float, Field(ge=3.0, le=20.0)] = 6.8
    font_size: Annotated[float, Field(ge=4.0, le=24.0)] = 8.5
    dpi: Annotated[int, Field(ge=50, le=600)] = 200
    gallery: Annotated[int, Field(ge=1, le=24)] = 12
    pictures: bool = True


class Params(_Section):
    """All sections of `params.yaml`.

    Example:
        >>> params = Params(training=Training(epochs=3))
        >>> params.training.epochs, params.training.batch_size
        (3, 96)
        >>> digest(params) == digest(Params())
        False
    """

    dataset: Dataset = Dataset()
    contamination: Contamination = Contamination()
    images: Images = Images()
    views: Views = Views()
    features: Features = Features()
    detector: DetectorParams = DetectorParams()
    differnet: DifferNetParams = DifferNetParams()
    patch_knn: PatchKnnParams = PatchKnnParams()
    training: Training = Training()
    refinement: Refinement = Refinement()
    operating: Operating = Operating()
    review: Review = Review()
    tracking: Tracking = Tracking()
    snapshots: Snapshots = Snapshots()
    run: Run = Run()
    sweep: Sweep = Sweep()
    figures: Figures = Figures()


def digest(*parts: Any) -> str:
    """SHA-256 (hex) of models and JSON values: the key under which a step's result is filed."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
