"""What speaks against a challenger without any label: it can be refused by this, never promoted."""

from __future__ import annotations

import pandas as pd
from scipy import stats

from irp_core.config.lines import PromotionPolicy
from irp_core.promotion.checks import Check, counted
from irp_core.promotion.evidence import ModelEvidence

__all__ = ["alarm_share", "drift", "flipped", "flips", "history_checks", "untrained"]

_FEWEST = 20  # images of each kind from which a distance of distributions says anything


def untrained(champion: ModelEvidence | None, challenger: ModelEvidence) -> pd.DataFrame:
    """The images that neither model trained on and both scored: `image_id`, `md5`, `score` (the challenger's), and,
    with a champion, `champion_score`. Copies of one content count once."""
    seen: set[str] = set().union(*({*m.trained_on, *m.removed} for m in (champion, challenger) if m is not None))
    mine = challenger.scores[~challenger.scores["md5"].isin(seen)].drop_duplicates("md5")
    mine = mine[["image_id", "md5", "score"]].sort_values("image_id", ignore_index=True)
    if champion is None:
        return mine
    theirs = champion.scores.drop_duplicates("md5").set_index("md5")["score"]
    both = mine[mine["md5"].isin(theirs.index)].reset_index(drop=True)
    return both.assign(champion_score=both["md5"].map(theirs))


def alarm_share(
    champion: ModelEvidence | None, challenger: ModelEvidence, images: pd.DataFrame, policy: PromotionPolicy
) -> Check:
    """The share of alarms against the declared rate, by a one-sided binomial test.

    The expected share is the declared rate, and the defective images: 1 - (1 - rate)(1 - contamination). More alarms
    than that refuse a challenger only if it raises them where the champion does not (an exact McNemar test): else
    the images differ and not the model.
    """
    name, count = "alarm share", len(images)
    if count == 0:
        return Check(name, "open", None, None, "No image is known that neither model trained on.")
    alarms = challenger.alarms(images)
    raised = int(alarms.sum())
    contamination = challenger.share_removed if challenger.contamination is None else challenger.contamination
    expected = 1.0 - (1.0 - challenger.false_alarm_rate) * (1.0 - contamination)
    said = (
        f"{raised} of {counted(count, 'image')} that neither model trained on are alarms; {expected:.1%} are expected"
    )
    share = raised / count
    if stats.binomtest(raised, count, expected, alternative="greater").pvalue >= policy.significance:
        return Check(name, "pass", share, expected, f"{said}.")
    if champion is None:
        return Check(name, "open", share, expected, f"{said}, and there is no champion to compare with.")
    before = images["champion_score"] > champion.threshold
    more, fewer = int((alarms & ~before).sum()), int((before & ~alarms).sum())
    known = f"{said}; the champion raises {int(before.sum())}"
    if more > fewer and stats.binomtest(more, more + fewer, alternative="greater").pvalue < policy.significance:
        return Check(name, "veto", share, expected, f"{known}: the challenger alarms more often than it declares.")
    return Check(name, "open", share, expected, f"{known}, too: more of these images may be defective.")


def flipped(champion: ModelEvidence, challenger: ModelEvidence, images: pd.DataFrame) -> pd.DataFrame:
    """The images on which the two decide differently, those that are no longer alarms first: a row per image with
    `image_id`, `md5`, `change`, both scores and both thresholds."""
    now, before = challenger.alarms(images), images["champion_score"] > champion.threshold
    rows = images[now != before].rename(columns={"score": "challenger_score"})
    rows = rows.assign(
        change=now[rows.index].map({True: "now an alarm", False: "no longer an alarm"}).astype(object),
        champion_threshold=champion.threshold,
        challenger_threshold=challenger.threshold,
    )
    columns = ["image_id", "md5", "change", "champion_score", "champion_threshold"]
    rows = rows[[*columns, "challenger_score", "challenger_threshold"]]
    return rows.sort_values(["change", "image_id"], ignore_index=True)


def flips(rows: pd.DataFrame, count: int, policy: PromotionPolicy) -> Check:
    """How many decisions differ; too many are for a person to look at."""
    if count == 0:
        return Check("flipped decisions", "open", None, policy.max_flips, "No image is known that both models scored.")
    gone = int((rows["change"] == "no longer an alarm").sum())
    share = len(rows) / count
    sentence = (
        f"The two decide differently on {len(rows)} of {counted(count, 'image')}: {gone} are no longer alarms, "
        f"{len(rows) - gone} are new ones."
    )
    return Check("flipped decisions", "open" if share > policy.max_flips else "pass", share, policy.max_flips, sentence)


def history_checks(challenger: ModelEvidence, policy: PromotionPolicy) -> list[Check]:
    """The share removed and the contamination, against the highest of the versions before."""
    return [
        _against_history("share removed", challenger.share_removed, challenger.history["share_removed"], policy, 1.0),
        _against_history(
            "contamination",
            challenger.contamination,
            challenger.history["contamination"],
            policy,
            policy.max_contamination,
        ),
    ]


def _against_history(
    name: str, value: float | None, before: pd.Series[float], policy: PromotionPolicy, most: float
) -> Check:
    if value is None:
        return Check(name, "open", None, None, f"The {name} of the challenger is not known.")
    known = pd.to_numeric(before).dropna()
    highest = float(known.max()) if len(known) else None
    bound = most if highest is None else min(most, highest + policy.max_rise)
    earlier = "no earlier version to compare with" if highest is None else f"at most {highest:.1%} in earlier versions"
    sentence = f"The {name} is {value:.1%}, {earlier}; {bound:.1%} is the bound."
    return Check(name, "veto" if value > bound else "pass", value, bound, sentence)


def drift(champion: ModelEvidence, policy: PromotionPolicy) -> Check:
    """Whether the new images look to the champion as the known ones do (two-sample Kolmogorov-Smirnov).

    Only images that it did not train on are compared. With many images a test finds any difference, so the distance
    has to be large, too.
    """
    name, bound = "drift", policy.max_drift
    if "new" not in champion.scores:
        return Check(name, "open", None, bound, "Which images are new is not known.")
    seen = {*champion.trained_on, *champion.removed}
    rows = champion.scores[~champion.scores["md5"].isin(seen)].drop_duplicates("md5")
    fresh = rows["new"].astype(bool)
    new, known = rows.loc[fresh, "score"].to_numpy(), rows.loc[~fresh, "score"].to_numpy()
    if min(len(new), len(known)) < _FEWEST:
        sentence = (
            f"{len(new)} new and {counted(len(known), 'known image')} that the champion did not train on are too few."
        )
        return Check(name, "open", None, bound, sentence)
    result = stats.ks_2samp(new, known)
    distance = float(result.statistic)
    far = distance > bound and float(result.pvalue) < policy.significance
    sentence = (
        f"The champion's scores of {len(new)} new and {len(known)} known images are {distance:.2f} apart "
        f"(0: alike, 1: nothing in common){'; a person has to say what changed on the line' if far else ''}."
    )
    return Check(name, "veto" if far else "pass", distance, bound, sentence)
