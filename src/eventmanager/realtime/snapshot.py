"""PURE. Which transactions a moment in the database's life has seen the end of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `pg_current_snapshot()` says: all below `xmin` are over, all from `xmax` on are not.

    Of those between the two, the `running` ones are not over.
    """

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def read(cls, text: str) -> "Snapshot":
        """Read PostgreSQL's form, `xmin:xmax:running,running`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))))

    def saw(self, transaction_id: int) -> bool:
        """Tell whether this transaction was over by then."""
        if transaction_id < self.xmin:
            return True
        return transaction_id < self.xmax and transaction_id not in self.running
