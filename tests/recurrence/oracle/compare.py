"""Asks all engines about many cases, and tells the differences that are explained from the rest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.recurrence.oracle.cases import drawn
from tests.recurrence.oracle.deviations import (
    DATEUTIL,
    RRULE_TEMPORAL,
    Answer,
    Deviation,
    explanation,
)
from tests.recurrence.oracle.engines import dateutils, ours, rrule_temporals, the_letters


@dataclass
class Report:
    """How many answers were compared, how many of them each deviation explains, and the rest."""

    compared: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Report") -> "Report":
        self.compared += other.compared
        self.explained += other.explained
        self.unexplained += other.unexplained
        return self


def compare(seeds: Sequence[int], *, node: str | None) -> Report:
    """Compare the cases of `seeds`; without `node`, rrule-temporal is not asked."""
    report = Report()
    cases = [drawn(seed) for seed in seeds]
    temporal = rrule_temporals(node, cases) if node else [None] * len(cases)
    for seed, case, from_node in zip(seeds, cases, temporal, strict=True):
        mine = ours(case)
        others: list[tuple[str, Answer | str | None, Sequence[Deviation]]] = [
            ("the letter of RFC 5545", the_letters(case), ()),
            ("dateutil", dateutils(case), DATEUTIL),
            ("rrule-temporal", from_node, RRULE_TEMPORAL),
        ]
        for name, theirs, deviations in others:
            if theirs is None:
                continue
            report.compared[name] += 1
            if theirs == mine:
                continue
            reason = None
            if not isinstance(theirs, str):
                reason = explanation(case, mine, theirs, deviations)
            if reason is not None:
                report.explained[f"{name}: {reason}"] += 1
            else:
                start = f"{case.start} {case.zone.key}{' all-day' * case.all_day}"
                report.unexplained.append(f"seed {seed}, {name}: {case.rule} from {start}")
    return report


def summary(report: Report) -> str:
    """Say in lines what was compared, what explains the differences, and what nothing explains."""
    lines = [f"{count:>7,} answers compared with {name}" for name, count in report.compared.items()]
    lines += [
        f"{count:>7,} explained by {name}" for name, count in sorted(report.explained.items())
    ]
    lines += [f"{len(report.unexplained):>7,} unexplained", *report.unexplained[:50]]
    return "\n".join(lines)
