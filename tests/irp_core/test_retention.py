"""What may be deleted: needed things never, and a year of nights stays bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from irp_core.config import Retention
from irp_core.retention import Item, Kind, plan

DAY = 86400.0
POLICY = Retention(
    run_days=30, keep_runs=3, weights_days=60, cache_bytes=5_000, store_bytes=2_000, keep_versions=5, line_days=40
)

ITEMS = st.lists(
    st.builds(
        Item,
        st.sampled_from(["run", "weights", "cache", "features", "image", "round"]),
        st.uuids().map(str),
        st.integers(0, 1_000),
        st.floats(0, 400 * DAY),
        st.sampled_from(["a", "b"]),
        st.sampled_from([None, None, "needed"]),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(items=ITEMS, now=st.floats(0, 500 * DAY))
def test_what_is_needed_stays_and_the_rest_obeys_the_bounds(items: list[Item], now: float) -> None:
    made = plan(items, POLICY, now).set_index("name")
    assert len(made) == len(items)
    for item in items:
        if item.needed:
            assert not made.loc[item.name, "delete"]
    for kind, bound in (("cache", POLICY.cache_bytes), ("features", POLICY.store_bytes)):
        left = made[(made["kind"] == kind) & ~made["delete"]]
        assert bound is not None
        assert left["bytes"].sum() <= bound or (left["reason"] == "needed").all()
    gone = {item.name for item in items if made.loc[item.name, "delete"]}
    for item in items:  # nothing younger goes while something older stays that could go
        if item.kind in ("cache", "features") and item.name in gone:
            assert all(
                other.name in gone or other.needed or other.since >= item.since
                for other in items
                if other.kind == item.kind
            )
    rest = [item for item in items if item.name not in gone]
    assert not plan(rest, POLICY, now)["delete"].any()  # a second time there is nothing to do


def test_without_a_bound_nothing_of_the_cache_goes() -> None:
    items = [Item(kind, kind, 10**12, 0.0) for kind in ("cache", "features", "image")]
    assert not plan(items, Retention(), now=10**9)["delete"].any()


def test_a_year_of_nights_stays_bounded() -> None:
    """Each night a run with its weights, a round, 20 images and their features; the line trains on 30 nights. Every
    tenth version goes into service, the others are refused."""
    items: list[Item] = []
    champion = previous = -1
    most: dict[Kind, int] = {}
    for night in range(365):
        now = night * DAY
        if night % 10 == 0:
            champion, previous = night, champion
        items += [Item("run", f"run-{night}", 100, now, "line3"), Item("weights", f"weights-{night}", 50, now, "line3")]
        items += [Item("cache", f"image-{night}-{k}", 20, now) for k in range(10)]
        items += [Item("image", f"taken-{night}-{k}", 40, now, "line3") for k in range(5)]
        items += [Item("features", f"segment-{night}", 100, now), Item("round", f"round-{night}", 30, now, "line3")]
        served = range(night - night % 10, -1, -10)[: POLICY.keep_versions]

        def needed(
            item: Item, champion: int = champion, previous: int = previous, served: range = served, night: int = night
        ) -> Item:
            of = int(item.name.split("-")[1])
            why = {champion: "champion", previous: "previous"}.get(of) if item.kind != "features" else None
            if (item.kind == "weights" and of in served) or (item.kind == "image" and of > night - 30):
                why = "a rollback, or the next round"
            return Item(item.kind, item.name, item.bytes, item.since, item.group, why)

        items = [needed(item) for item in items]
        made = plan(items, POLICY, now)
        gone = set(made.loc[made["delete"], "name"])
        items = [item for item in items if item.name not in gone]
        left = {item.name for item in items}
        for kept in (champion, previous):
            if kept >= 0:
                assert {f"run-{kept}", f"weights-{kept}", f"image-{kept}-0", f"taken-{kept}-0"} <= left
        assert {f"weights-{of}" for of in served} <= left
        for kind in ("run", "weights", "cache", "features", "image", "round"):
            most[kind] = max(most.get(kind, 0), sum(item.bytes for item in items if item.kind == kind))
    assert most["run"] <= (POLICY.run_days + 3) * 100
    assert most["weights"] <= (POLICY.weights_days + 1 + POLICY.keep_versions) * 50
    assert most["image"] <= (POLICY.line_days or 0) * 200 + 3 * 200
    assert most["round"] <= (POLICY.run_days + 3) * 30
    assert most["cache"] <= 5_000
    assert most["features"] <= 2_000
