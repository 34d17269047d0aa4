"""Ten destinations, four of them ill: the healthy ones keep the speed that they have alone.

The figures proper, over several rounds, come from `make bench-destinations`; here there is one short round on a machine
that may be busy with other things, so the bounds of what is taken at full speed leave room.
"""

import pytest

from benchmarks.ten_destinations import Figures, Plan, measure, show

PLAN = Plan(rounds=1, rate=60.0, seconds=4.0, backlog=5_000)


@pytest.fixture(scope="module")
def figures() -> Figures:
    measured = measure(PLAN)
    show(PLAN, measured)
    return measured


def test_at_a_steady_inflow_the_healthy_get_every_event_as_soon_as_alone(figures: Figures) -> None:
    assert figures.steady_ratio >= 0.95
    assert figures.steady_beside.p50_seconds <= 2 * figures.steady_alone.p50_seconds


def test_those_that_get_no_events_cost_the_healthy_next_to_nothing(figures: Figures) -> None:
    assert figures.dead_ratio >= 0.6


def test_a_slow_one_costs_them_no_more_than_a_healthy_one_would(figures: Figures) -> None:
    assert figures.ill_ratio >= 0.6
