"""`make oracle`: many random rules, with progress and a summary; fails if one is unexplained."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor

from tests import npm
from tests.recurrence.oracle.compare import Report, compare, summary
from tests.recurrence.oracle.engines import HERE

BATCH = 250


def main() -> int:
    """Compare ORACLE_RULES rules, from seed ORACLE_SEED on; return the exit status."""
    rules = int(os.environ.get("ORACLE_RULES", "20000"))
    first = int(os.environ.get("ORACLE_SEED", "1000000"))
    node = npm.node()
    if node is None:
        sys.stdout.write("Node.js (node and npm) is not installed: rrule-temporal is not asked.\n")
    else:
        npm.install(HERE)
    batches = [
        range(seed, min(seed + BATCH, first + rules)) for seed in range(first, first + rules, BATCH)
    ]
    report = Report()
    with ProcessPoolExecutor(max_workers=min(os.cpu_count() or 1, 4)) as workers:
        waiting = [workers.submit(compare, batch, node=node) for batch in batches]
        for done, future in enumerate(waiting, start=1):
            report += future.result()
            asked = min(done * BATCH, rules)
            sys.stdout.write(
                f"\r{asked:,} of {rules:,} rules, {len(report.unexplained)} unexplained"
            )
            sys.stdout.flush()
    sys.stdout.write("\n\n" + summary(report) + "\n")
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
