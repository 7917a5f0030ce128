"""A production line whose detector is retrained: its inbox, when a round is due, what goes into service.

One file `params/lines/NAME.yaml` per line; `irp_core.line.definition` reads it.

Example:
    >>> line = Line(name="line3", inbox="/data/line3", golden="golden/line3")
    >>> line.min_new, line.promotion.mode
    (200, 'manual')
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from irp_core.config.base import Positive, Section, Seed, Share

__all__ = ["LINE_NAME", "Inbox", "Line", "Monitoring", "PromotionPolicy"]

LINE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
"""A line's name: it names a folder, a git branch, a registered model and deployments."""


def _checked_cron(cron: str | None) -> str | None:
    if cron is None:
        return None
    from cronsim import CronSim, CronSimError

    try:
        if len(cron.split()) != 5:
            raise CronSimError
        CronSim(cron, datetime(2026, 1, 1))
    except CronSimError as error:
        why = f" ({error})" if str(error) else ""
        example = 'for example "0 2 * * *"'
        raise ValueError(f"must be five fields as cron writes them, {example}. Got {cron!r}{why}.") from None
    return cron


class Inbox(Section):
    """How files are taken in from the place where the line leaves them."""

    settle: Annotated[float, Field(ge=0.0)] = 5.0  # seconds between the two polls at which a file must be the same
    poll: Positive = 300  # seconds between two polls of `irp line watch`
    max_age: Positive | None = None  # seconds after which the oldest new image makes a round, however few there are
    silent_after: Positive | None = None  # seconds without any new image, after which people are told
    take: Literal["auto", "hardlink", "copy"] = "auto"  # auto: reflink where the file system can, else copy
    options: dict[str, Any] = Field(default={})  # of the file system (fsspec), e.g. endpoint_url of an S3 store


class PromotionPolicy(Section):
    """The bounds that a challenger is compared by, and who promotes it (`irp_core.promotion`).

    `mode`: `manual` asks a person about every challenger that no check refuses; `golden` promotes by itself what the
    labelled images speak for; `always` promotes what no check refuses.
    """

    mode: Literal["manual", "golden", "always"] = "manual"
    margin: Share = 0.03  # AUROC that may be lost at most
    margin_misses: Share = 0.1  # share of the golden defects that may be missed in addition
    margin_alarms: Share = 0.05  # share of the golden good images that may be alarms in addition
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95  # of a bound, one-sided
    resamples: Annotated[int, Field(ge=200, le=100_000)] = 2000  # of the paired bootstrap
    seed: Seed = 0  # of the resamples
    min_defects: Positive = 20  # golden defects below which nothing is promoted without a person
    min_good: Positive = 50  # golden good images below which nothing is promoted without a person
    significance: Share = 0.01  # of the tests of the alarm share and of the drift
    max_rise: Share = 0.2  # share removed, and contamination, above the highest of the versions that were in service
    max_contamination: Share = 0.3  # whatever those had
    max_flips: Share = 0.1  # share of decisions that differ from the champion's, before a person should look
    max_drift: Share = 0.3  # Kolmogorov-Smirnov distance of the champion's scores of new and of known images


class Monitoring(Section):
    """How the detector in service is watched (`irp_core.monitoring`): the first images after it was put into service
    are the commissioning window, and those after them are held against it, window by window."""

    cron: str | None = None  # when new images are scored and tested; null: by `irp monitor LINE`
    reference: Annotated[int, Field(ge=100)] = 200  # images of the commissioning window
    window: Annotated[int, Field(ge=100)] = 100  # images of a window
    retrain: bool = False  # whether drift begins a round, with fewer new images than `min_new`, too

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str | None) -> str | None:
        return _checked_cron(cron)


class Line(Section):
    """One line: where its images come from, when its detector is refined on them, and what is done with the result.

    Attributes:
        inbox: a folder, or the address of a file system that fsspec knows (`s3://plant/line3`).
        golden: folder of labelled images (a sub-folder named `good`, one per defect) that no detector is trained on.
        cron: when a round is started, as cron writes it; None: by hand or by the number of new images only.
        min_new: new images that make a round.
        history: earlier images that a round trains on besides the new ones, the latest; None: all.
        remote: where the training sets go: a DVC remote by its name, a folder, or an address; None: DVC's default
            remote, else the folder `lines/remote` beside the line's.
        branch: git branch that the sets' `.dvc` files are committed to; None: `line/NAME`.
        git_remote: git remote to push that branch to; None: it is not pushed.
        webhook: address that is told of events.
        params: sections with keys, on top of `params.yaml`.
    """

    name: Annotated[str, Field(pattern=LINE_NAME)]
    inbox: Annotated[str, Field(min_length=1)]
    golden: str | None = None
    cron: str | None = None
    timezone: str = "UTC"
    min_new: Positive = 200
    history: Annotated[int, Field(ge=0)] | None = None
    taking: Inbox = Inbox()
    promotion: PromotionPolicy = PromotionPolicy()
    monitoring: Monitoring = Monitoring()
    remote: str | None = None
    branch: str | None = None
    git_remote: str | None = None
    webhook: str | None = None
    params: dict[str, dict[str, Any]] = Field(default={})

    @property
    def git_branch(self) -> str:
        return self.branch or f"line/{self.name}"

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str | None) -> str | None:
        return _checked_cron(cron)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):  # unknown; no name of a file; a folder
            raise ValueError(f'must be a time zone, for example "Europe/Berlin". Got {zone!r}.') from None
        return zone

    @model_validator(mode="after")
    def _golden_needs_a_golden_set(self) -> Line:
        if self.promotion.mode == "golden" and self.golden is None:
            raise ValueError("golden must name a folder where promotion.mode is golden. Got None.")
        return self
