"""PURE. How often something may be done, as settings say it: `200/minute`."""

import re
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = {"second": 1, "minute": 60, "hour": 60 * 60, "day": 24 * 60 * 60}
_RATE: Final = re.compile(
    r"\s*([1-9]\d{0,6})\s*(?:/|per)\s*([1-9]\d{0,2})?\s*(second|minute|hour|day)s?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` in any stretch of `seconds`."""

    amount: int
    seconds: int


def parse_rates(text: str) -> tuple[Rate, ...]:
    """Read `200/minute`, `5 per 30 seconds`, or several such, all of which hold: `5/minute;50/day`.

    Raises `ValueError` with a sentence about what is right.
    """
    return tuple(_parse_rate(part) for part in re.split("[;,]", text))


def _parse_rate(text: str) -> Rate:
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text.strip()!r} is not a rate such as 200/minute, 5 per 30 seconds or "
            "10/minute;100/day (second, minute, hour or day)"
        )
    amount, multiple, unit = found.groups()
    return Rate(int(amount), int(multiple or 1) * _SECONDS[unit.lower()])
