"""PURE. The time of day at which a user is not to be disturbed."""

from dataclasses import dataclass
from datetime import datetime, time

from eventmanager.core.time import zone


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of day until another on the wall clock of a zone; past midnight if need be."""

    start: time
    end: time
    time_zone: str

    def cover(self, now: datetime) -> bool:
        """Tell whether it is quiet at an instant: from `start` on, and no longer at `end`."""
        clock = now.astimezone(zone(self.time_zone)).time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end
