"""sinew: brokerless messaging with the nanomsg scalability protocols.

A socket of each kind, with calls for threads, and with the ending ``_async`` for asyncio. Times are seconds; ``None``
has no end, 0 is one attempt. Every socket may be used by any thread, and is closed by ``close`` or at the end of a
``with`` block. Sending takes ``bytes``; receiving returns ``bytes``.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno as _errno
import math
import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import AsyncIterator, Callable, Dict, Iterator, List, Optional, Tuple, Type, TypeVar, Union

from ._native import Event as _Event
from ._native import Peer as _Peer
from ._native import byref, c_int, c_int64, c_uint64, c_void_p
from ._native import library as _library

__all__ = [
    "Bus", "Closed", "Error", "Event", "Events", "Pair", "Pair1", "Peer", "Pub", "Pull", "Push", "Rep", "Req",
    "Request", "Respondent", "Socket", "StateError", "Sub", "Survey", "Surveyor", "TimedOut", "WouldBlock",
]

Data = Union[bytes, bytearray, memoryview]
_T = TypeVar("_T")
_Self = TypeVar("_Self", bound="_Handle")

_EFSM = 156384766


class Error(OSError):
    """A call has failed: ``errno`` says how, and the text why."""


class Closed(Error):
    """The socket is closed, or was closed while the call waited."""


class TimedOut(Error, TimeoutError):
    """The time of the call was over."""


class WouldBlock(Error, BlockingIOError):
    """A call with a time of 0 would have had to wait."""


class StateError(Error):
    """The call makes no sense now."""


_KINDS: Dict[int, Type[Error]] = {
    _errno.EBADF: Closed,
    _errno.ETIMEDOUT: TimedOut,
    _errno.EAGAIN: WouldBlock,
    _EFSM: StateError,
}


def _failure(number: int) -> Error:
    text = (_library.sinew_error() or b"").decode(errors="replace")
    return _KINDS.get(number, Error)(number, text)


def _check(number: int) -> None:
    if number != 0:
        raise _failure(number)


def _milliseconds(timeout: Optional[float]) -> int:
    if timeout is None:
        return -1
    return max(0, min(math.ceil(timeout * 1000), 2**31 - 1))


def _waiting(call: Callable[[int], int], timeout: Optional[float]) -> None:
    """Makes a call that waits. After a signal, whose handler Python runs in between, it goes on."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        number = call(_milliseconds(timeout))
        if number != _errno.EINTR:
            return _check(number)
        if end is not None:
            timeout = max(0.0, end - time.monotonic())


class _Handle:
    """What a pointer of the library stands for. It is freed once, when no call is under way."""

    _free: Callable[[c_void_p], None]

    def __init__(self, pointer: c_void_p) -> None:
        self._pointer: Optional[c_void_p] = pointer
        self._process = os.getpid()

    @property
    def _at(self) -> c_void_p:
        if self._pointer is None:
            raise Closed(_errno.EBADF, "it is closed already")
        return self._pointer

    def _release(self) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._free(pointer)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives it up."""
        self._release()

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None and _library is not None:
            self._release()


def _made(call: Callable[[object], int]) -> c_void_p:
    place = c_void_p()
    _check(call(byref(place)))
    return place


def _taken(message: c_void_p) -> bytes:
    """The bytes of a message, which is freed."""
    data = ctypes.string_at(_library.sinew_message_data(message), _library.sinew_message_size(message))
    _library.sinew_message_free(message)
    return data


def _descriptor(call: Callable[[c_void_p, object], int], handle: c_void_p) -> int:
    place = c_int()
    _check(call(handle, byref(place)))
    return place.value


class _Readers:
    """The tasks of an event loop that wait for a descriptor, of which a loop takes one reader."""

    waiting: "Dict[Tuple[asyncio.AbstractEventLoop, int], List[asyncio.Future[None]]]" = {}

    @classmethod
    async def wait(cls, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        key, future = (loop, descriptor), loop.create_future()
        waiting = cls.waiting.setdefault(key, [])
        if not waiting:
            loop.add_reader(descriptor, cls._wake, key)
        waiting.append(future)
        try:
            await future
        finally:
            if future in waiting:
                waiting.remove(future)
                if not waiting and cls.waiting.get(key) is waiting:
                    del cls.waiting[key]
                    loop.remove_reader(descriptor)

    @classmethod
    def _wake(cls, key: "Tuple[asyncio.AbstractEventLoop, int]") -> None:
        loop, descriptor = key
        loop.remove_reader(descriptor)
        for future in cls.waiting.pop(key, []):
            if not future.done():
                future.set_result(None)


async def _when_ready(attempt: Callable[[], _T], descriptor: Callable[[], int]) -> _T:
    """Attempts until it does not block. A task that is cancelled in between has lost nothing."""
    while True:
        try:
            return attempt()
        except WouldBlock:
            await _Readers.wait(descriptor())


@dataclass(frozen=True)
class Peer:
    """A peer that is connected."""

    pipe: int
    outgoing: bool
    remote: str
    pid: Optional[int]
    messages_sent: int
    messages_received: int
    send_queue: int
    recv_queue: int
    dropped: int


@dataclass(frozen=True)
class Event:
    """Something happened to a pipe: ``attaching``, ``attached`` or ``detached``, the last with a reason."""

    kind: str
    pipe: int
    remote: str
    reason: str


_OPTIONS = {
    "send_queue": 1, "send_queue_bytes": 2, "recv_queue": 3, "recv_queue_bytes": 4, "max_send_size": 5,
    "max_recv_size": 6, "linger": 7, "reconnect_interval": 8, "reconnect_max": 9, "connect_timeout": 10,
    "max_peers": 11, "tcp_nodelay": 12, "tcp_keepalive": 13, "ttl": 14, "resend_interval": 15, "max_resends": 16,
    "survey_deadline": 17, "send_priority": 18, "recv_priority": 19, "prefer_new": 20, "conflate_prefix": 21,
}
_TIMES = {
    "linger", "reconnect_interval", "reconnect_max", "connect_timeout", "tcp_keepalive", "resend_interval",
    "survey_deadline",
}


class Socket(_Handle):
    """What all sockets have in common. Options are keywords: ``Push(send_queue=16, linger=1.0)``."""

    _kind: int
    _free = staticmethod(_library.sinew_socket_free)

    def __init__(self, **options: Optional[float]) -> None:
        super().__init__(_made(lambda place: _library.sinew_socket_open(self._kind, place)))
        for name, value in options.items():
            self.set(name, value)

    def bind(self, url: str) -> str:
        """Accepts connections at an address, and returns the address with the port that it has."""
        actual = ctypes.create_string_buffer(512)
        _check(_library.sinew_bind(self._at, url.encode(), actual, len(actual)))
        return actual.value.decode()

    def connect(self, url: str) -> None:
        """Connects in the background, again and again until it is connected."""
        _check(_library.sinew_connect(self._at, url.encode()))

    def connect_now(self, url: str) -> None:
        """Makes one attempt to connect, and waits for its outcome."""
        _check(_library.sinew_connect_now(self._at, url.encode()))

    def close_endpoint(self, url: str) -> None:
        """Ends what ``bind`` or ``connect`` made, with its connections."""
        _check(_library.sinew_endpoint_close(self._at, url.encode()))

    def wait_for_peers(self, peers: int = 1, timeout: Optional[float] = None) -> None:
        """Waits until so many peers are connected."""
        _check(_library.sinew_wait_for_peers(self._at, peers, _milliseconds(timeout)))

    def drain(self, timeout: Optional[float] = None) -> int:
        """Waits until all that was sent has left. Returns how many messages have not."""
        return int(_library.sinew_drain(self._at, _milliseconds(timeout)))

    def set(self, option: str, value: Optional[float]) -> None:
        """Sets an option. Times are seconds; ``None`` is no limit."""
        number = self._option(option)
        if value is None:
            value = -1
        elif option in _TIMES:
            value = math.ceil(value * 1000)
        _check(_library.sinew_set(self._at, number, int(value)))

    def get(self, option: str) -> Optional[float]:
        """Reads an option. Times are seconds; ``None`` is no limit."""
        place = c_int64()
        _check(_library.sinew_get(self._at, self._option(option), byref(place)))
        if place.value < 0:
            return None
        return place.value / 1000 if option in _TIMES else place.value

    @staticmethod
    def _option(name: str) -> int:
        try:
            return _OPTIONS[name]
        except KeyError:
            raise ValueError(f"there is no option {name!r}, only {', '.join(_OPTIONS)}") from None

    def peers(self) -> List[Peer]:
        """Who is connected now."""
        room = int(_library.sinew_peers(self._at, None, 0)) + 16
        peers = (_Peer * room)()
        count = min(int(_library.sinew_peers(self._at, peers, room)), room)
        return [
            Peer(
                it.pipe, bool(it.outgoing), it.remote.decode(errors="replace"), it.pid or None, it.messages_sent,
                it.messages_received, it.send_queue, it.recv_queue, it.dropped,
            )
            for it in peers[:count]
        ]

    def disconnect(self, pipe: int) -> None:
        """Ends one connection."""
        _check(_library.sinew_disconnect(self._at, pipe))

    def stat(self, name: str) -> int:
        """A figure, such as ``messages_sent``."""
        place = c_uint64()
        _check(_library.sinew_stat(self._at, name.encode(), byref(place)))
        return place.value

    def drops(self) -> Dict[str, int]:
        """How many messages were dropped for which reason; reasons without any are left out."""
        found, reason = {}, 0
        while (name := _library.sinew_drop_reason(reason)) is not None:
            if count := int(_library.sinew_drops(self._at, reason)):
                found[name.decode()] = count
            reason += 1
        return found

    def metrics(self) -> str:
        """All figures as an OpenMetrics page."""
        room = int(_library.sinew_metrics(self._at, None, 0)) + 4096
        page = ctypes.create_string_buffer(room)
        _library.sinew_metrics(self._at, page, room)
        return page.value.decode(errors="replace")

    def events(self) -> "Events":
        """Who connects and disconnects from now on."""
        return Events(_made(lambda place: _library.sinew_events_open(self._at, place)))

    def close(self) -> None:
        """Closes the socket. Calls of other threads on it end with `Closed`."""
        if self._pointer is not None:
            # What is left is freed with this object, when no call can be under way any more.
            _library.sinew_socket_close(self._pointer)

    def _recv_fd(self) -> int:
        return _descriptor(_library.sinew_recv_fd, self._at)

    def _send_fd(self) -> int:
        return _descriptor(_library.sinew_send_fd, self._at)

    def __repr__(self) -> str:
        return f"<sinew.{type(self).__name__}>"


class _Sends(Socket):
    def send(self, data: Data, timeout: Optional[float] = None) -> None:
        """Sends, waiting for room."""
        body = bytes(data)
        _waiting(lambda wait: _library.sinew_send(self._at, body, len(body), wait), timeout)

    async def send_async(self, data: Data) -> None:
        """Sends, waiting for room as a task."""
        await _when_ready(lambda: self.send(data, timeout=0), self._send_fd)


class _Receives(Socket):
    def recv(self, timeout: Optional[float] = None) -> bytes:
        """Receives the next message."""
        place = c_void_p()
        _waiting(lambda wait: _library.sinew_recv(self._at, byref(place), wait), timeout)
        return _taken(place)

    async def recv_async(self) -> bytes:
        """Receives the next message as a task."""
        return await _when_ready(lambda: self.recv(timeout=0), self._recv_fd)

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to receive. Only to be polled."""
        return self._recv_fd()

    def __iter__(self) -> Iterator[bytes]:
        """Yields messages until the socket is closed."""
        try:
            while True:
                yield self.recv()
        except Closed:
            return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self.recv_async()
        except Closed:
            return


class Pair(_Sends, _Receives):
    """One to one."""

    _kind = 16


class Pair1(_Sends, _Receives):
    """One to one, with a count of hops."""

    _kind = 17


class Bus(_Sends, _Receives):
    """Sends to all and receives from all."""

    _kind = 112


class Push(_Sends):
    """Sends work, each piece to one worker."""

    _kind = 80


class Pull(_Receives):
    """Receives work."""

    _kind = 81


class Pub(_Sends):
    """Sends to all subscribers; never waits."""

    _kind = 32


class Sub(_Receives):
    """Receives the messages that begin with one of its topics."""

    _kind = 33

    def __init__(self, *topics: Data, **options: Optional[float]) -> None:
        super().__init__(**options)
        for topic in topics:
            self.subscribe(topic)

    def subscribe(self, topic: Data) -> None:
        """Receives what begins with these bytes. Each time counts."""
        topic = bytes(topic)
        _check(_library.sinew_subscribe(self._at, topic, len(topic)))

    def unsubscribe(self, topic: Data) -> None:
        """Ends a subscription."""
        topic = bytes(topic)
        _check(_library.sinew_unsubscribe(self._at, topic, len(topic)))


class _Context(_Handle):
    _free = staticmethod(_library.sinew_context_free)


class Req(Socket):
    """Sends requests, and gets a reply to each. Any number of threads and tasks may share one."""

    _kind = 48

    def request(self, data: Data, timeout: Optional[float] = None) -> bytes:
        """Sends a request, and waits for its reply. After an error it is given up."""
        body, place = bytes(data), c_void_p()
        call = lambda wait: _library.sinew_request_send(self._at, body, len(body), byref(place), wait)  # noqa: E731
        _waiting(call, timeout)
        return _taken(place)

    async def request_async(self, data: Data) -> bytes:
        """Sends a request, and waits for its reply as a task. A task that is cancelled gives it up."""
        body = bytes(data)
        with _Context(_made(lambda place: _library.sinew_context_open(self._at, place))) as context:
            _check(_library.sinew_context_send(context._at, body, len(body)))

            def attempt() -> bytes:
                place = c_void_p()
                _check(_library.sinew_context_recv(context._at, byref(place), 0))
                return _taken(place)

            return await _when_ready(attempt, lambda: _descriptor(_library.sinew_context_recv_fd, context._at))


class Request(_Handle):
    """A request or survey that was received, and the right to answer it once."""

    _free = staticmethod(_library.sinew_request_free)

    def __init__(self, pointer: c_void_p) -> None:
        super().__init__(pointer)
        start, size = _library.sinew_request_data(pointer), _library.sinew_request_size(pointer)
        #: What was asked.
        self.data: bytes = ctypes.string_at(start, size)
        #: The pipe on which it came.
        self.pipe: int = _library.sinew_request_pipe(pointer)

    def reply(self, data: Data) -> None:
        """Answers. Never waits."""
        pointer, body = self._at, bytes(data)
        self._pointer = None
        _check(_library.sinew_request_reply(pointer, body, len(body)))


class _Answers(Socket):
    def recv(self, timeout: Optional[float] = None) -> Request:
        """Receives the next request. Answer it, or close it."""
        place = c_void_p()
        _waiting(lambda wait: _library.sinew_request_recv(self._at, byref(place), wait), timeout)
        return Request(place)

    async def recv_async(self) -> Request:
        """Receives the next request as a task."""
        return await _when_ready(lambda: self.recv(timeout=0), self._recv_fd)

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to receive. Only to be polled."""
        return self._recv_fd()


class Rep(_Answers):
    """Receives requests, and answers each."""

    _kind = 49


class Respondent(_Answers):
    """Receives surveys, and may answer each."""

    _kind = 99


class Survey(_Handle):
    """A survey under way: yields answers until its deadline."""

    _free = staticmethod(_library.sinew_survey_free)

    def recv(self, timeout: Optional[float] = None) -> bytes:
        """Receives the next answer; fails with `TimedOut` at the deadline."""
        place = c_void_p()
        _waiting(lambda wait: _library.sinew_survey_recv(self._at, byref(place), wait), timeout)
        return _taken(place)

    async def recv_async(self) -> bytes:
        """Receives the next answer as a task."""
        descriptor = lambda: _descriptor(_library.sinew_survey_recv_fd, self._at)  # noqa: E731
        return await _when_ready(lambda: self.recv(timeout=0), descriptor)

    def __iter__(self) -> Iterator[bytes]:
        try:
            while True:
                yield self.recv()
        except (TimedOut, Closed):
            return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self.recv_async()
        except (TimedOut, Closed):
            return


class Surveyor(Socket):
    """Asks all, and collects answers until a deadline (the option ``survey_deadline``)."""

    _kind = 98

    def survey(self, data: Data) -> Survey:
        """Asks all that are connected. Never waits."""
        body = bytes(data)
        return Survey(_made(lambda place: _library.sinew_survey_send(self._at, body, len(body), place)))


class Events(_Handle):
    """The events of a socket, from when this was made."""

    _free = staticmethod(_library.sinew_events_free)
    _NAMES = {1: "attaching", 2: "attached", 3: "detached"}

    def next(self, timeout: Optional[float] = None) -> Event:
        """Waits for the next event; fails with `Closed` when the socket is closed and all were read."""
        event = _Event()
        _waiting(lambda wait: _library.sinew_events_next(self._at, byref(event), wait), timeout)
        remote, reason = event.remote.decode(errors="replace"), event.reason.decode(errors="replace")
        return Event(self._NAMES.get(event.kind, "unknown"), event.pipe, remote, reason)
