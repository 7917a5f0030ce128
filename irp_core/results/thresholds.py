"""A run's two thresholds in sentences: the one that removes training images, and the one that judges new images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["operating_sentence", "removal_sentence"]


def removal_sentence(summary: Mapping[str, Any]) -> str:
    """What the removal threshold is for, and where it ended.

    Args:
        summary: of a finished run.

    Example:
        >>> removal_sentence({"last_round": {"threshold": 1.25, "max_score": 1.1}})
        'Removal threshold 1.250: a training image above it stands out (highest score left: 1.100). It only cleans the training set.'
    """  # noqa: E501
    last = summary["last_round"]
    if summary.get("outcome") and last["threshold"] >= last["max_score"]:
        return (
            f"Highest score left: {last['max_score']:.3f}, by all detectors together. No training image stands so far "
            "out, and alone, that it is removed without asking."
        )
    if summary.get("outcome"):
        return (
            f"Removal threshold {last['threshold']:.3f} (highest score left: {last['max_score']:.3f}): only a training "
            "image above it, and alone, is removed without asking."
        )
    return (
        f"Removal threshold {last['threshold']:.3f}: a training image above it stands out (highest score left: "
        f"{last['max_score']:.3f}). It only cleans the training set."
    )


def operating_sentence(summary: Mapping[str, Any]) -> str | None:
    """What the operating threshold is for, how it was found, and how it did on the test images; None without one.

    Example:
        >>> point = {"threshold": 2.0, "false_alarm_rate": 0.05, "basis": "quantile", "images": 120}
        >>> operating_sentence({"operating": point})
        'Operating threshold 2.000: `irp score` calls a new image above it anomalous; at most 5 % of new good images should be (quantile of the out-of-fold scores of 120 training images).'
    """  # noqa: E501
    point = summary.get("operating")
    if not point:
        return None
    rate = f"{100 * point['false_alarm_rate']:g} %"
    images = f"{point['images']} training images"
    if point.get("drawn_from"):
        images += f" (drawn by content from {point['drawn_from']})"
    basis = f"{point['basis']} of the out-of-fold scores of {images}"
    if point["basis"] == "extrapolated":
        basis = f"extrapolated: {images} are too few for that rate"
    text = (
        f"Operating threshold {point['threshold']:.3f}: `irp score` calls a new image above it anomalous; at most "
        f"{rate} of new good images should be ({basis})."
    )
    measured = [
        f"{name} {100 * point[key]:.0f} %"
        for name, key in (("false alarms", "test_false_alarms"), ("defects found", "test_detected"))
        if point.get(key) is not None
    ]
    return f"{text} On the test images: {', '.join(measured)}." if measured else text
