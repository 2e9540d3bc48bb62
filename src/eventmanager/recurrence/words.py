"""Words for numbers, dates and lists, as English says them in one short line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Final

# How many characters of a list are shown.
ROOM: Final = 64
MONTHS: Final = (
    "",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ORDINALS: Final = (
    "",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
_SUFFIXES: Final = {1: "st", 2: "nd", 3: "rd"}


def ordinal(number: int) -> str:
    """Return "first", "11th", or "second-to-last" for -2."""
    if number < 0:
        return "last" if number == -1 else f"{ordinal(-number)}-to-last"
    return _ORDINALS[number] if number < len(_ORDINALS) else nth(number)


def nth(number: int) -> str:
    """Return "1st", "12th", "23rd"."""
    teen = number // 10 % 10 == 1
    return f"{number}{'th' if teen else _SUFFIXES.get(number % 10, 'th')}"


def moment_in_words(moment: datetime, *, clock: bool) -> str:
    """Show a date, with the time of day if `clock`."""
    if not clock:
        return date_in_words(moment)
    return f"{date_in_words(moment)} at {moment:{'%H:%M:%S' if moment.second else '%H:%M'}}"


def date_in_words(day: date) -> str:
    """Show a date as "1 March 2027"."""
    # strftime would name the month in the language of the host.
    return f"{day.day} {MONTHS[day.month]} {day.year}"


def numbers_in_words(numbers: Sequence[int], say: Callable[[int], str], word: str = "and") -> str:
    """Say sorted numbers, those from the front first; three or more in a row become "a to b"."""
    ordered = sorted(numbers, key=lambda number: (number < 0, number))
    items = [
        (say(first) if first == last else f"{say(first)} to {say(last)}", last - first + 1)
        for first, last in _runs(ordered)
    ]
    return cut(items, word)


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and last of each run of neighbours; a run of two stays two numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return [
        piece
        for first, last in runs
        for piece in ([(first, first), (last, last)] if last == first + 1 else [(first, last)])
    ]


def cut(items: Sequence[tuple[str, int]], word: str = "and", *, unread: int = 0) -> str:
    """Join texts and how many values each stands for, up to a length; then say how many are left.

    `unread` values more are known of, but not given.
    """
    shown: list[str] = []
    room = ROOM
    for text, _ in items:
        room -= len(text) + 2
        if shown and room < 0:
            break
        shown.append(text)
    left = unread + sum(size for _, size in items[len(shown) :])
    return joined([*shown, f"{left:,} more"] if left else shown, word)


def joined(items: Sequence[str], word: str = "and") -> str:
    """Join as English does: "a, b and c"."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {word} {items[-1]}"
