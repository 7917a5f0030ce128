"""What labelled images say: only they can promote a challenger without a person."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from irp_core.config.lines import PromotionPolicy
from irp_core.promotion.checks import Check, Verdict, counted
from irp_core.promotion.evidence import ModelEvidence
from irp_core.promotion.paired_bootstrap import Difference, auroc_difference, rate_difference, smallest_visible_loss

__all__ = ["labelled_checks"]


def labelled_checks(champion: ModelEvidence | None, challenger: ModelEvidence, policy: PromotionPolicy) -> list[Check]:
    """Whether there are labelled images enough, and what they say of ranks, alarms and misses."""
    images, trained = _labelled(champion, challenger)
    defective = (images["label"] == "defective").to_numpy()
    size = _size(defective, trained, policy)
    if defective.all() or not defective.any():  # none at all, or of one kind
        return [size]
    scores = images["score"].to_numpy(dtype=np.float64)
    if champion is None:
        return [size, _first(scores, defective, policy)]
    before = images["champion_score"].to_numpy(dtype=np.float64)
    draw = {"resamples": policy.resamples, "confidence": policy.confidence, "seed": policy.seed}
    ranks = auroc_difference(before, scores, defective, **draw)  # type: ignore[arg-type]
    now, then = scores > challenger.threshold, before > champion.threshold
    alarms = rate_difference(then[~defective], now[~defective], **draw)  # type: ignore[arg-type]
    misses = rate_difference(~then[defective], ~now[defective], **draw)  # type: ignore[arg-type]
    aurocs = [float(roc_auc_score(defective, values)) for values in (before, scores)]
    good, bad = int((~defective).sum()), int(defective.sum())
    return [
        size,
        _judged("golden AUROC", ranks, policy.margin, f"AUROC goes from {aurocs[0]:.3f} to {aurocs[1]:.3f}", policy),
        _judged(
            "golden alarms",
            _negative(alarms),
            policy.margin_alarms,
            f"Alarms among {counted(good, 'good image')} go from {then[~defective].sum()} to {now[~defective].sum()}",
            policy,
        ),
        _judged(
            "golden misses",
            _negative(misses),
            policy.margin_misses,
            f"Misses among {counted(bad, 'defect')} go from {(~then[defective]).sum()} to {(~now[defective]).sum()}",
            policy,
        ),
    ]


def _labelled(champion: ModelEvidence | None, challenger: ModelEvidence) -> tuple[pd.DataFrame, int]:
    """The labelled images that both scored and neither trained on, and how many were trained on."""
    if challenger.golden is None or (champion is not None and champion.golden is None):
        return pd.DataFrame(columns=["image_id", "md5", "label", "score", "champion_score"]), 0
    rows = challenger.golden.drop_duplicates("md5")
    if champion is not None and champion.golden is not None:
        theirs = champion.golden.drop_duplicates("md5").set_index("md5")["score"]
        rows = rows[rows["md5"].isin(theirs.index)]
        rows = rows.assign(champion_score=rows["md5"].map(theirs))
    seen = set(challenger.trained_on) | (set(champion.trained_on) if champion else set())
    trained = rows["md5"].isin(seen)
    return rows[~trained].sort_values("image_id", ignore_index=True), int(trained.sum())


def _size(defective: np.ndarray, trained: int, policy: PromotionPolicy) -> Check:
    bad, good = int(defective.sum()), int((~defective).sum())
    enough = bad >= policy.min_defects and good >= policy.min_good
    sentence = f"{counted(bad, 'labelled defect')} and {counted(good, 'labelled good image')}"
    if trained:
        sentence += f" ({trained} more were trained on and do not count)"
    if not enough:
        sentence += f"; at least {policy.min_defects} and {policy.min_good} are needed to promote without a person"
    if bad and good:
        loss = smallest_visible_loss(bad, good, confidence=policy.confidence)
        sentence += f"; a loss of AUROC below about {loss:.3f} does not show on them"
    verdict: Verdict = "pass" if enough else "open"
    return Check(
        "golden set", verdict, float(bad + good), float(policy.min_defects + policy.min_good), f"{sentence}.", True
    )


def _first(scores: np.ndarray, defective: np.ndarray, policy: PromotionPolicy) -> Check:
    """Without a champion: whether the ranks tell defective from good images at all."""
    chance = np.zeros(len(scores))
    above = auroc_difference(
        chance, scores, defective, resamples=policy.resamples, confidence=policy.confidence, seed=policy.seed
    )
    verdict: Verdict = "pass" if above.lower > 0 else "veto" if above.upper < 0 else "open"
    sentence = (
        f"AUROC is {0.5 + above.value:.3f}, {'above' if above.lower > 0 else 'not surely above'} chance "
        f"(lower bound {0.5 + above.lower:.3f})."
    )
    return Check("golden AUROC", verdict, 0.5 + above.lower, 0.5, sentence, True)


def _judged(name: str, gain: Difference, margin: float, said: str, policy: PromotionPolicy) -> Check:
    """`pass` where no more than `margin` is lost for sure, `veto` where something is lost for sure, else `open`."""
    verdict: Verdict = "pass" if gain.lower > -margin else "veto" if gain.upper < 0 else "open"
    surely = {
        "pass": f"a loss of {margin:g} is excluded",
        "veto": f"it lost for sure, and a loss of {margin:g} is possible",
        "open": f"a loss of {margin:g} is possible",
    }[verdict]
    sentence = f"{said}; {surely} ({policy.confidence:.0%} bounds of the gain: {gain.lower:+.3f} to {gain.upper:+.3f})."
    return Check(name, verdict, gain.lower, -margin, sentence, True)


def _negative(loss: Difference) -> Difference:
    return Difference(-loss.value, -loss.upper, -loss.lower)
