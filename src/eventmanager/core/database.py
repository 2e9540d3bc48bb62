"""The connection pool, the compiled statements, and the only scopes that touch the database.

`reading()` lends a connection for single statements, `searching()` for those whose plan depends on
what is asked for; `transaction()` runs a piece of work as one transaction and runs it again as a
whole when PostgreSQL asks for it (40001, 40P01), `rehearse()` does the same and rolls back. Nothing
else begins or commits.

A statement that stages messages is known by its text; once it is committed, `on_news` is called.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import ClauseElement, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.compiler import SQLCompiler

from eventmanager.core.errors import Unavailable

T = TypeVar("T")

ATTEMPTS: Final = 5
ACQUIRE_TIMEOUT_SECONDS: Final = 5.0
STATEMENT_TIMEOUT_SECONDS: Final = 30
SILENT_SECONDS: Final = 2.0
"""How much longer than a statement may take we wait for the server to say so."""

_DIALECT: Final = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
_STAGING: Final = "INSERT INTO messages"
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    # An idle connection that has been told of a shutdown, and is not closed yet.
    asyncpg.InternalClientError,
    asyncpg.CrashShutdownError,
    asyncpg.ReadOnlySQLTransactionError,
    # The statement ran into its time limit.
    asyncpg.QueryCanceledError,
)


@dataclass(frozen=True, slots=True)
class Query:
    """A named statement, compiled once to SQL with `$1` parameters.

    `parameters` are the names to give, in order of their position; a name found in `constants`
    was a literal of the statement and is not asked for. `tells` is true when it stages messages.
    """

    sql: str
    parameters: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    tells: bool = False

    def arguments(self, given: Mapping[str, Any]) -> list[Any]:
        """Return the values of `given` in the order of the statement's parameters."""
        if not self.constants:
            return [given[name] for name in self.parameters]
        return [
            self.constants[name] if name in self.constants else given[name]
            for name in self.parameters
        ]


QUERIES: Final[list[Query]] = []
"""Every statement of the program; a test has PostgreSQL prepare each one."""


def query(statement: ClauseElement | str) -> Query:
    """Compile a Core statement, or SQL with `:name` parameters, into a `Query`."""
    element = text(statement) if isinstance(statement, str) else statement
    compiled = element.compile(dialect=_DIALECT)
    assert isinstance(compiled, SQLCompiler)
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    tells = _STAGING in compiled.string
    made = Query(compiled.string, tuple(compiled.positiontup or ()), constants, tells)
    QUERIES.append(made)
    return made


# Something that the log of the database must keep, so that its commit waits for the disk: a crash
# may take back the numbers of transactions that left no trace there, and give them to others.
_KEEP_NUMBERS: Final = query("""
    SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS number,
           pg_logical_emit_message(true, 'eventmanager', '')
""")
_PLAN_ANEW: Final = query("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")


class Reading:
    """A borrowed connection: runs statements, each on its own.

    `told` is true once one of them has staged messages.
    """

    def __init__(self, connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
        self._connection = connection
        self.told = False

    async def all(self, statement: Query, **given: Any) -> list[asyncpg.Record]:
        """Return every row."""
        self.told |= statement.tells
        try:
            return await self._connection.fetch(statement.sql, *statement.arguments(given))
        except TimeoutError:
            self._give_up()
            raise

    async def first(self, statement: Query, **given: Any) -> asyncpg.Record | None:
        """Return the first row, if there is one."""
        self.told |= statement.tells
        try:
            return await self._connection.fetchrow(statement.sql, *statement.arguments(given))
        except TimeoutError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Drop a connection on which not even the statement's own time limit is heard of.

        Nobody is there, so neither a rollback nor the word to cancel would be answered.
        """
        self._connection.terminate()


class Transaction(Reading):
    """A connection inside one transaction: what runs on it stands or falls together."""


class Database:
    """The pool and its scopes.

    `on_news` is called after messages were committed; it must neither wait nor fail.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, patience_s: float) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self.on_news: Callable[[], None] = lambda: None
        self._turns: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()
        self._numbers_kept = 0

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str,
        *,
        pool_size: int,
        must_answer: bool = True,
        statement_s: int = STATEMENT_TIMEOUT_SECONDS,
    ) -> AsyncIterator["Database"]:
        """Open the pool for `url` and close it at the end, letting running statements finish.

        A statement may take `statement_s`; a server that is silent for longer is taken for lost.
        Raises `Unavailable` when the server cannot be reached, if it must answer now: a process
        that takes the place of another may start while it is away, and is there when it is back.
        """
        async with translated():
            pool = await asyncpg.create_pool(
                url,
                min_size=min(2, pool_size) if must_answer else 0,
                max_size=pool_size,
                reset=_as_it_is,
                init=_prepare_connection,
                statement_cache_size=512,
                command_timeout=statement_s + SILENT_SECONDS,
                server_settings={
                    "application_name": "eventmanager",
                    "jit": "off",
                    # Every statement is written for the indexes it is to use, so planning it anew
                    # for each set of parameters costs more than running it (decision 0001).
                    "plan_cache_mode": "force_generic_plan",
                    "max_parallel_workers_per_gather": "0",
                    "statement_timeout": str(statement_s * 1000),
                    "idle_in_transaction_session_timeout": str(statement_s * 1000),
                    "timezone": "UTC",
                },
            )
        try:
            yield cls(pool, patience_s=min(ACQUIRE_TIMEOUT_SECONDS, statement_s))
        finally:
            try:
                await asyncio.wait_for(pool.close(), timeout=10)
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reading]:
        """Lend a connection for statements that each stand alone."""
        async with translated(), self._pool.acquire(timeout=self._patience_s) as connection:
            read = Reading(connection)
            try:
                yield read
            finally:
                # Each statement is a commit of its own, whatever the block does afterwards.
                if read.told:
                    self.on_news()

    @asynccontextmanager
    async def searching(self) -> AsyncIterator[Reading]:
        """Lend a connection for statements that PostgreSQL plans anew for their parameters."""
        async with (
            translated(),
            self._pool.acquire(timeout=self._patience_s) as connection,
            connection.transaction(readonly=True),
        ):
            read = Reading(connection)
            await read.first(_PLAN_ANEW)
            yield read

    async def keep_numbers(self, before: int) -> None:
        """See to it that no transaction will be given a number below `before` that is given now.

        Whoever hands out a snapshot that is to be compared with later transactions needs that.
        """
        if before > self._numbers_kept:
            async with self.reading() as read:
                row = await read.first(_KEEP_NUMBERS)
            assert row is not None
            self._numbers_kept = row["number"]

    @asynccontextmanager
    async def turn(self, key: object) -> AsyncIterator[None]:
        """Let the work on one thing in this process, such as an owner's time, go one by one.

        It would wait for one row anyway; here it waits without a connection that others could use.
        """
        async with self._turns.setdefault(key, asyncio.Lock()):
            yield

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` as one transaction and return what it returns.

        An error inside rolls everything back. On a serialization failure or a deadlock the whole
        of `work` runs again, at most five times, so it may have no effect outside its transaction.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with (
                    translated(),
                    self._pool.acquire(timeout=self._patience_s) as connection,
                    connection.transaction(),
                ):
                    transaction = Transaction(connection)
                    result = await work(transaction)
            except _RETRIED as error:
                if attempt == ATTEMPTS:
                    raise Unavailable from error
            else:
                if transaction.told:
                    self.on_news()
                return result
        raise AssertionError("unreachable")

    async def rehearse(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` as a transaction that is rolled back, and return what it returns."""

        async def undone(tx: Transaction) -> T:
            raise _Rehearsed(await work(tx))

        try:
            return await self.transaction(undone)
        except _Rehearsed as done:
            result: T = done.result
            return result


class _Rehearsed(Exception):  # it ends a transaction, and is no error
    """Carries the result of a rehearsal out of the transaction that it rolls back."""

    def __init__(self, result: Any) -> None:
        self.result = result


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's ways of saying "the database is away" into `Unavailable`."""
    try:
        yield
    except _UNREACHABLE as error:
        raise Unavailable from error
    except asyncpg.InterfaceError as error:
        # The driver says "connection is closed" with the same class it uses for misuse; misuse
        # would fail every test, so what remains in production is a lost connection.
        raise Unavailable from error


async def _as_it_is(_: object) -> None:
    """Return a connection unchanged: no statement of ours alters session state."""


async def _prepare_connection(connection: "asyncpg.Connection[asyncpg.Record]", /) -> None:
    """Pass `json` values through as bytes: PostgreSQL's text goes to the client untouched."""
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )
