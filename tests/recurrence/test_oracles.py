"""The engine against others on random rules: dateutil, rrule-temporal, and the RFC read aloud.

Answers are compared as instants, around DST changes and new years as often as not. Every difference
is one of those that `oracle/deviations.py` explains. `make oracle` does the same with 20,000 rules.
"""

import random
from datetime import timedelta

import pytest

from eventmanager.recurrence import InvalidRecurrence, expand, parse
from tests import npm
from tests.recurrence.oracle.cases import drawn
from tests.recurrence.oracle.compare import compare, summary
from tests.recurrence.oracle.engines import HERE, ours, the_letters

RULES = 500
BATCH = 50


@pytest.fixture(scope="session")
def node() -> str:
    """The program `node`, with rrule-temporal installed; skips where there is no Node."""
    program = npm.node()
    if program is None:
        pytest.skip("Node.js (node and npm) is not installed: rrule-temporal was not asked")
    npm.install(HERE)
    return program


@pytest.mark.parametrize("first", range(0, RULES, BATCH))
def test_random_rules_expand_as_dateutil_and_the_rfc_expand_them(first: int) -> None:
    """Ours agree with an engine that many calendars use, but where it leaves the RFC."""
    report = compare(range(first, first + BATCH), node=None)
    assert not report.unexplained, summary(report)
    assert report.compared == {"the letter of RFC 5545": BATCH, "dateutil": BATCH}
    # An explanation is an exception: rules that need none are what is tested here.
    assert report.explained.total() < BATCH / 4


@pytest.mark.timeout(npm.INSTALL_SECONDS + 60)
@pytest.mark.parametrize("first", range(RULES, 2 * RULES, BATCH))
def test_random_rules_expand_as_rrule_temporal_expands_them(node: str, first: int) -> None:
    """1,000 more agree with an engine of another language, on another copy of the zone data."""
    report = compare(range(first, first + BATCH), node=node)
    assert not report.unexplained, summary(report)
    assert report.compared["rrule-temporal"] == BATCH
    assert report.explained.total() < BATCH / 4


def test_the_random_rules_are_as_varied_as_they_should_be() -> None:
    """A generator that never drew an UNTIL, or only dead rules, would agree with anything."""
    cases = [drawn(seed) for seed in range(RULES)]
    for name in ("UNTIL", "COUNT", "BYSETPOS", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "WKST"):
        assert sum(name in case.parts for case in cases) > 20, name
    assert sum(case.all_day for case in cases) > 25
    assert sum(bool(case.rdates) for case in cases) > 25
    assert sum(bool(case.exdates) for case in cases) > 25
    timed = [case for case in cases if not case.all_day]
    assert sum(the_letters(case) != the_letters(case, only_shown=True) for case in timed) > 5
    assert sum(bool(ours(case)) for case in cases) > 250


@pytest.mark.parametrize("seed", range(90_000, 90_060))
def test_a_window_shows_the_same_as_the_whole(seed: int) -> None:
    """Jumping to a window never loses, adds or moves an occurrence."""
    case = drawn(seed)
    start = case.start.replace(tzinfo=case.zone)
    end = start + timedelta(days=1)
    try:
        series = parse(case.rule, start=start, end=end, time_zone=case.zone, all_day=case.all_day)
    except InvalidRecurrence:
        return
    whole = expand(series, start=case.since, end=case.before)
    pieces = []
    edge = case.since
    chance = random.Random(seed)
    while edge < case.before:
        after = min(edge + timedelta(hours=chance.randint(1, 2_000)), case.before)
        pieces += expand(series, start=edge, end=after)
        edge = after
    assert pieces == whole
