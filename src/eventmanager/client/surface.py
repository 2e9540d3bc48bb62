"""How one description of what can be done becomes methods of both kinds of client.

A resource lists functions that make calls. Asked of a `Client` they are methods that return the
result, asked of an `AsyncClient` coroutines; type checkers know which.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, overload

from eventmanager.client.calls import Call
from eventmanager.client.following import Trail
from eventmanager.client.listening import Listener
from eventmanager.client.models import Notification

T = TypeVar("T")
P = ParamSpec("P")


class Blocking(ABC):
    """Sends calls and waits for the answers."""

    @abstractmethod
    def send(self, call: Call[T]) -> T:
        """Return what was answered; raises `ApiError`."""

    @abstractmethod
    def pages(self, call: Call[list[T]]) -> Iterator[T]:
        """Yield what is on all pages, each asked for when it is needed; raises `ApiError`."""

    @abstractmethod
    def follow(self, trail: Trail) -> Generator[Notification, None, None]:
        """Yield notifications without end; raises `ApiError`."""


class Asynchronous(ABC):
    """Sends calls and has the answers awaited."""

    @abstractmethod
    async def send(self, call: Call[T]) -> T:
        """Return what was answered; raises `ApiError`."""

    @abstractmethod
    def pages(self, call: Call[list[T]]) -> AsyncIterator[T]:
        """Yield what is on all pages, each asked for when it is needed; raises `ApiError`."""

    @abstractmethod
    def follow(self, trail: Trail) -> Listener:
        """Yield notifications without end; raises `ApiError`."""


Sender_co = TypeVar("Sender_co", bound=Blocking | Asynchronous, covariant=True)


class Resource(Generic[Sender_co]):
    """Things of one kind, as one client reaches them."""

    def __init__(self, sender: Sender_co) -> None:
        self._sender = sender


class Act(Generic[P, T]):
    """A method that sends one call."""

    def __init__(self, call: Callable[P, Call[T]]) -> None:
        self._call = call

    @overload
    def __get__(self, resource: Resource[Blocking], kind: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, resource: Resource[Asynchronous], kind: Any = None
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Resource[Any], kind: Any = None) -> Callable[P, Any]:
        """Bind it to a client's resource."""
        return _bound(self._call, resource, Blocking.send)


class Listing(Generic[P, T]):
    """A method that goes through a list, page by page."""

    def __init__(self, call: Callable[P, Call[list[T]]]) -> None:
        self._call = call

    @overload
    def __get__(
        self, resource: Resource[Blocking], kind: Any = None
    ) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(
        self, resource: Resource[Asynchronous], kind: Any = None
    ) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, resource: Resource[Any], kind: Any = None) -> Callable[P, Any]:
        """Bind it to a client's resource."""
        return _bound(self._call, resource, Blocking.pages)


class Listening(Generic[P]):
    """A method that listens to what happens."""

    def __init__(self, trail: Callable[P, Trail]) -> None:
        self._trail = trail

    @overload
    def __get__(
        self, resource: Resource[Blocking], kind: Any = None
    ) -> Callable[P, Generator[Notification, None, None]]: ...
    @overload
    def __get__(
        self, resource: Resource[Asynchronous], kind: Any = None
    ) -> Callable[P, Listener]: ...
    def __get__(self, resource: Resource[Any], kind: Any = None) -> Callable[P, Any]:
        """Bind it to a client's resource."""
        return _bound(self._trail, resource, Blocking.follow)


def _bound(
    make: Callable[P, Any], resource: Resource[Any], how: Callable[..., Any]
) -> Callable[P, Any]:
    if resource is None:  # asked of the class, by what prints documentation
        return make
    perform = getattr(resource._sender, how.__name__)  # noqa: SLF001  # one module, one idea

    @wraps(make)
    def method(*args: P.args, **kwargs: P.kwargs) -> Any:
        return perform(make(*args, **kwargs))

    return method
