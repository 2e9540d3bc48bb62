"""PURE. RFC 5545 recurrence: patterns read into series, series expanded within windows.

`parse` reads and checks a pattern, `expand` gives its occurrences in a window, `is_finished` says
whether any are left, `refuse_crowded` looks for a year with too many. No clock, no database: values
in, values out, and always bounded work.
"""

from eventmanager.recurrence.anchors import Anchor
from eventmanager.recurrence.expansion import (
    Occurrence,
    begins,
    expand,
    is_finished,
    refuse_crowded,
)
from eventmanager.recurrence.lines import MAX_LENGTH
from eventmanager.recurrence.moves import Drag, Move, move
from eventmanager.recurrence.parsing import parse
from eventmanager.recurrence.reanchoring import cannot_be_dragged
from eventmanager.recurrence.series import Series
from eventmanager.recurrence.splitting import Halves, split
from eventmanager.recurrence.text import describe
from eventmanager.recurrence.values import InvalidRecurrence
from eventmanager.recurrence.walk import MAX_OCCURRENCES

__all__ = [
    "MAX_LENGTH",
    "MAX_OCCURRENCES",
    "Anchor",
    "Drag",
    "Halves",
    "InvalidRecurrence",
    "Move",
    "Occurrence",
    "Series",
    "begins",
    "cannot_be_dragged",
    "describe",
    "expand",
    "is_finished",
    "move",
    "parse",
    "refuse_crowded",
    "split",
]
