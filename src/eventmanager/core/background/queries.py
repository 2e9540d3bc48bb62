"""The named statements of the queue and of what is known of its tasks."""

from typing import Final

from pgqueuer.adapters.persistence.qb import QueryQueueBuilder
from pgqueuer.domain.settings import DBSettings
from pgqueuer.domain.types import Channel, OnConflict

from eventmanager.core.database import QUERIES, Query, query

# Every name is given, so that no environment variable of the library's can change one.
SETTINGS: Final = DBSettings(
    prefix="",
    db_schema=None,
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
)


def _enqueue(on_conflict: OnConflict) -> Query:
    """Return the library's own statement, to be run on a connection of ours."""
    sql = QueryQueueBuilder(SETTINGS).build_enqueue_query(on_conflict)
    made = Query(sql, ("priorities", "names", "payloads", "delays", "keys", "headers"))
    QUERIES.append(made)
    return made


ENQUEUE: Final = _enqueue("raise")

# Jobs whose keys are in the queue already are left as they are.
ENQUEUE_ONCE: Final = _enqueue("skip")

# What waits for its time is due now; what a process has its hands on is left to it.
DUE_NOW: Final = query("""
    UPDATE pgqueuer SET execute_after = now(), updated = now()
    WHERE id IN (
        SELECT id FROM pgqueuer
        WHERE dedupe_key = ANY(CAST(:keys AS text[])) AND status = 'queued'
        FOR UPDATE SKIP LOCKED
    )
""")

# Jobs of kinds that no release knows any more, and what was known of them.
DROP_UNKNOWN: Final = query("""
    WITH dropped AS (
        DELETE FROM pgqueuer
        WHERE status = 'queued' AND execute_after < now() - interval '7 days'
          AND NOT entrypoint = ANY(CAST(:entrypoints AS text[]))
    )
    DELETE FROM task_runs
    WHERE started_at < now() - interval '7 days' AND NOT name = ANY(CAST(:names AS text[]))
""")

# How often a job has failed since it was enqueued.
COUNT_FAILURE: Final = query("""
    UPDATE pgqueuer
    SET headers = coalesce(headers, '{}')
        || jsonb_build_object('failures', CAST(:failures AS integer))
    WHERE id = :job_id
""")

# The oldest lines of the queue's log, a few thousand at a time.
PURGE_LOG: Final = query("""
    WITH purged AS (
        DELETE FROM pgqueuer_log
        WHERE id IN (
            SELECT id FROM pgqueuer_log
            WHERE created < now() - CAST(:kept AS interval) LIMIT :limit
        )
        RETURNING 1
    )
    SELECT count(*) AS purged FROM purged
""")

STARTED: Final = query("""
    INSERT INTO task_runs (name, process, started_at) VALUES (:name, :process, now())
    ON CONFLICT (name) DO UPDATE SET process = excluded.process, started_at = now()
""")

FINISHED: Final = query("""
    UPDATE task_runs SET finished_at = now(), failed_at = NULL, error = NULL WHERE name = :name
""")

FAILED: Final = query("""
    INSERT INTO task_runs (name, process, started_at, failed_at, error)
    VALUES (:name, :process, now(), now(), :error)
    ON CONFLICT (name)
    DO UPDATE SET process = excluded.process, failed_at = now(), error = excluded.error
""")

# Of a look nothing is known but that it went well, and that only every ten seconds or so.
LOOKED: Final = query("""
    INSERT INTO task_runs (name, process, started_at, finished_at)
    VALUES (:name, :process, now(), now())
    ON CONFLICT (name) DO UPDATE
    SET process = excluded.process, started_at = now(), finished_at = now(),
        failed_at = NULL, error = NULL
    WHERE task_runs.finished_at IS NULL OR task_runs.failed_at IS NOT NULL
       OR task_runs.finished_at < now() - interval '9 seconds'
""")

# What is known of each task and watch; a task is held as long as its process gives signs of life.
RUNS: Final = query("""
    SELECT r.name, r.process, r.error, r.failed_at IS NOT NULL AS failing,
        r.finished_at,
        CAST(extract(epoch FROM now() - r.finished_at) AS float8) AS finished_ago_s,
        EXISTS (
            SELECT FROM pgqueuer q
            WHERE q.dedupe_key = 'task ' || r.name AND q.status = 'picked'
              AND q.heartbeat > now() - interval '30 seconds'
        ) AS held
    FROM task_runs r
""")

# The jobs of some kinds that are due and nobody is at.
WAITING: Final = query("""
    SELECT count(*) AS jobs,
        CAST(coalesce(extract(epoch FROM now() - min(execute_after)), 0) AS float8) AS oldest_s
    FROM pgqueuer
    WHERE status = 'queued' AND execute_after <= now()
      AND entrypoint = ANY(CAST(:entrypoints AS text[]))
""")
