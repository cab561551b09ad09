"""The `Recorder`, whose hooks an agent calls.

A hook call reads both clocks, takes the next ``seq``, encodes the arguments, writes one frame to the journal and
returns. It never raises, whatever its arguments are, and blocks on nothing but another hook call (laws 5 and 6).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, get_args
from zlib import crc32

from eventstore.admission import admissible_id
from eventstore.hooks.arguments import UNCHANGING, Args, as_text, encode_args
from eventstore.hooks.collector import CollectorHooks
from eventstore.hooks.declare import Record
from eventstore.hooks.later import LaterHooks
from eventstore.hooks.own import OwnHooks
from eventstore.hooks.redaction import Redact, with_redaction
from eventstore.hooks.traces import TracesHooks
from eventstore.hooks.vocabulary import HOOKS
from eventstore.recording import frames
from eventstore.recording.backdating import BackdatedHooks
from eventstore.recording.backlog import Backlog, Pending, Source
from eventstore.recording.health import Health
from eventstore.recording.recovery import LIMIT_BYTES
from eventstore.recording.writer import Durability, Writer, acquire_writer, release_from_finalizer, release_writer
from eventstore.stores.base import Store


class Clock(NamedTuple):
    """A recorder's clocks: two functions that return nanoseconds."""

    perf_ns: Callable[[], int] = time.perf_counter_ns
    wall_ns: Callable[[], int] = time.time_ns


class Timer(Protocol):
    def cancel(self) -> None: ...


log = logging.getLogger("turnlog")
SAME_MOMENT_NS = 100_000
"""Two clocks read within this time count as read at once."""
Scheduler = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after a number of seconds. Raises `RuntimeError` if no scheduling is possible."""


def event_loop(seconds: float, call: Callable[[], None]) -> Timer:
    """The default scheduler: the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, call)


class Recorder(CollectorHooks, LaterHooks, OwnHooks):
    """Records the hook calls of one session; ``traces`` has the hooks of the traces manager.

    Signatures are the reference's; a call that does not match raises `TypeError`, as usual. Nothing else raises. Use it
    as a context manager, or `close` it.
    """

    def __init__(
        self,
        store: Store,
        session_id: str | None = None,
        *,
        origin: str | None = None,
        durability: Durability = "process",
        clock: Clock = Clock(),  # noqa: B008 - an immutable tuple
        scheduler: Scheduler = event_loop,
        journal: Path | str | None = None,
        journal_limit_bytes: int = LIMIT_BYTES,
        redact: Redact | None = None,
    ) -> None:
        """``origin`` identifies this recorder and must be new in the session; by default it is random.

        An id longer than 255 bytes, or with control characters, is replaced; see `session_id` and `origin`.

        ``durability``: ``process`` (a call that has returned survives SIGKILL), ``disk`` (it survives a power cut),
        ``memory`` (it does not survive the process). ``journal`` is a folder, by default beside the database. At
        ``journal_limit_bytes`` the oldest calls are dropped, and counted in `health`. ``redact`` removes private data
        from every call's arguments, see `eventstore.hooks.redaction`.
        """
        if durability not in get_args(Durability):
            raise ValueError(f"durability is one of {', '.join(get_args(Durability))}, not {durability!r}")
        self.session_id = _id_of("session id", session_id) or uuid.uuid4().hex
        self.origin = _id_of("origin", origin) or uuid.uuid4().hex[:12]
        self.store = store
        self._clock, self._schedule, self._timer = clock, scheduler, _NO_TIMER
        self._durability, self._limit_bytes = durability, journal_limit_bytes
        self._journal = Path(journal) if journal is not None else store.journal
        self._redact = redact
        self._failures = _Failures()
        self._refused = 0
        """Number of refused calls at the last flush."""
        self._closed = self._all_stored = False
        self.traces = TracesHooks()
        self._open()
        _recorders.add(self)

    def _open(self) -> None:
        self._writer: Writer = acquire_writer(self.store, self._journal, self._durability, self._limit_bytes)
        self._failures.backlog = self._writer.backlog
        self._next_seq = count().__next__
        self._finalizer = weakref.finalize(self, release_from_finalizer, self._writer, self._source)
        self._finalizer.atexit = False  # writers are closed at exit anyway
        self._set_record(self._make_record())

    @property
    def _source(self) -> Source:
        return self.session_id, self.origin

    def _make_record(self, tap: Tap | None = None) -> Record:
        """The function that records a call. ``tap`` also gets each recorded call, undecoded."""
        backlog = self._writer.backlog
        args = backlog, self._source, self._clock, self._next_seq, self._failures.fail, tap
        in_memory = backlog.folder is None
        record = _memory_record(*args) if in_memory else _journal_record(*args, sync=self._durability == "disk")
        return record if self._redact is None else with_redaction(record, self._redact, self._failures.fail_to_redact)

    def _attach_tap(self, tap: Tap, progress: Callable[[], None]) -> None:
        """From now on pass every call to ``tap`` too; the writer calls ``progress`` after each batch."""
        if not self._closed:
            self._writer.progress_callbacks[self._source] = progress
            self._set_record(self._make_record(tap))

    def _set_record(self, record: Record) -> None:
        self._record = self.traces._record = record  # noqa: SLF001 - the recorder's own

    def happened(self, wall_ns: int, raw: Any = None) -> BackdatedHooks:
        """The hooks, for something that happened at a different time: nanoseconds since the epoch.

        ``recorder.happened(t).on_user_speech_end()`` is recorded now; projections date it to ``t``. ``raw`` is the
        framework's original timestamp, stored with it.
        """
        try:
            happened_ns = self._now_on_both_clocks() + _nanoseconds(wall_ns)
        except Exception as error:  # noqa: BLE001 - law 6
            self._fail(error)
            happened_ns = self._clock.perf_ns()
        return BackdatedHooks(self._record_now, happened_ns, raw)

    def _now_on_both_clocks(self) -> int:
        """The monotonic clock minus the wall clock; retried if another thread ran between the two readings."""
        perf_ns, wall_ns = self._clock
        for _attempt in range(3):
            before, wall, after = perf_ns(), wall_ns(), perf_ns()
            if after - before < SAME_MOMENT_NS:
                break
        return before - wall

    def _record_now(self, hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None) -> None:
        self._record(hook, args, adapt)  # looked up now, as `_record` may change

    # the only hook that does more than record -----------------------------------------------------------------

    def schedule_turn_complete(self, timeout: float = 1.0) -> None:
        """Complete the turn in ``timeout`` seconds, or at once if there is no event loop; each call restarts the timer.

        When the timer fires, this is recorded as `finalize_realtime_turn`.
        """
        super().schedule_turn_complete(timeout)
        try:
            self._timer.cancel()
            self._timer = self._schedule(timeout, _weak_callback(self._timer_fired))
        except RuntimeError:
            self.complete_turn()
        except Exception as error:  # noqa: BLE001 - a timeout or scheduler of the user; law 6
            self._fail(error)

    def _timer_fired(self) -> None:
        self._timer = _NO_TIMER
        self.finalize_realtime_turn()

    # lifecycle -------------------------------------------------------------------------------------------------

    @property
    def health(self) -> Health:
        """The current state of recording."""
        backlog = self._writer.backlog
        oldest = backlog.oldest_perf_ns()
        return Health(
            0.0 if oldest is None else max(0.0, (self._clock.perf_ns() - oldest) / 1e9),
            backlog.size_bytes(),
            backlog.dropped,
            backlog.unjournaled,
            self._writer.rejected,
            self._failures.failed,
            backlog.last_error,
            self._failures.unredacted,
            self._writer.set_aside,
            backlog.damaged,
            self._writer.replaced,
            backlog.lost[self._source],
        )

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all calls recorded so far are in the store; False if ``timeout`` (seconds) expired.

        Also False if the store has refused some since the last flush.
        """
        if self._closed:
            return True
        stored, refused = self._writer.flush(timeout), self._writer.refused[self._source]
        before, self._refused = self._refused, refused
        return stored and refused == before

    def close(self, timeout: float = 10.0) -> bool:
        """Flush and stop; calls not stored within ``timeout`` seconds stay in the journal for `recover`.

        True only if every call of the recorder is in the store: none was dropped, refused or failed. Calling it again
        returns the same. Later hook calls are counted as dropped.
        """
        if self._closed:
            return self._all_stored
        self._closed = True
        self._finalizer.detach()
        self._set_record(self._record_after_close)
        with contextlib.suppress(Exception):  # a timer of the user
            self._timer.cancel()
        stored = release_writer(self._writer, self._source, timeout)
        self._all_stored = stored and not self._writer.backlog.lost[self._source] and not self._failures.failed
        return self._all_stored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fail(self, error: BaseException) -> None:
        self._failures.fail(error)

    def _record_after_close(self, _hook: str, _args: object = None, _adapt: object = None) -> None:
        self._writer.backlog.drop_after_close(self._source)

    def _reopen_in_child(self) -> None:
        """After a fork: become a new origin with its own journal, at the first call in the child."""

        def reopen(hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None) -> None:
            try:
                self.origin = uuid.uuid4().hex[:12]
                self._finalizer.detach()  # the writer is the parent's
                self._open()
            except Exception as error:  # noqa: BLE001 - law 6
                self._fail(error)
            else:
                self._record(hook, args, adapt)

        if not self._closed:
            self._set_record(reopen)


class _Failures:
    """Counts a recorder's own failures. Separate, so that the record function does not reference the recorder."""

    def __init__(self) -> None:
        self.failed = self.unredacted = 0
        self.backlog: Backlog

    def fail(self, error: BaseException) -> None:
        self.failed += 1
        self.backlog.report_error(f"a hook call could not be recorded: {type(error).__name__}: {as_text(error)}")

    def fail_to_redact(self, error: BaseException) -> None:
        self.unredacted += 1
        kind = type(error).__name__
        self.backlog.report_error(f"redact failed; a call is recorded without its arguments: {kind}")


def _weak_callback(method: Callable[[], None]) -> Callable[[], None]:
    """A callback that does nothing once the method's object was collected."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (found := reference()) is not None:
            found()

    return call


Tap = Callable[[bytes | Pending], object]


def _journal_record(
    backlog: Backlog,
    source: Source,
    clock: Clock,
    next_seq: Callable[[], int],
    fail: Callable[[BaseException], None],
    tap: Tap | None,
    *,
    sync: bool,
) -> Record:
    """The hot path: a closure, as Python reads local names fastest."""
    heads = {}
    for hook in HOOKS:
        head = frames.head(*source, hook)
        heads[hook] = head, crc32(head), len(head)
    perf_ns, wall_ns = clock
    stamp, measure, encode = frames.STAMP.pack, frames.FRAME.pack, encode_args

    def record(hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None) -> None:
        try:
            rest = stamp(next_seq(), perf_ns(), wall_ns())
            if args is not None:
                rest += encode(args) if adapt is None else encode(_adapt(adapt, args))
            head, checksum, size = heads[hook]
            frame = measure(size + len(rest), crc32(rest, checksum)) + head + rest
            try:
                backlog.write(frame)
            except ValueError:
                backlog.append_slow(frame)
            if tap is not None:
                tap(frame)
            if sync:
                backlog.sync()
            if backlog.idle:
                backlog.idle = False
                backlog.wake.set()
        except Exception as error:  # noqa: BLE001 - law 6
            fail(error)

    return record


def _memory_record(
    backlog: Backlog,
    source: Source,
    clock: Clock,
    next_seq: Callable[[], int],
    fail: Callable[[BaseException], None],
    tap: Tap | None,
) -> Record:
    """The hot path with durability ``memory``: immutable arguments are encoded later, by the writer."""
    perf_ns, wall_ns = clock
    add, unchanging = backlog.memory.append, UNCHANGING

    def record(hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None) -> None:
        try:
            if args is None:
                call = Pending(source, hook, next_seq(), perf_ns(), wall_ns())
            else:
                seq, perf, wall = next_seq(), perf_ns(), wall_ns()
                data: Args | bytes = args
                if adapt is not None:
                    data = encode_args(_adapt(adapt, args))
                else:
                    for value in args.values():
                        if type(value) not in unchanging:
                            data = encode_args(args)
                            break
                call = Pending(source, hook, seq, perf, wall, data)
            add(call)
            if tap is not None:
                tap(call)
            if backlog.idle:
                backlog.idle = False
                backlog.wake.set()
        except Exception as error:  # noqa: BLE001 - law 6
            fail(error)

    return record


def _adapt(adapt: Callable[[Args], Args], args: Args) -> Args:
    try:
        return adapt(args)
    except Exception:  # noqa: BLE001 - an object of the user; the slow encoder keeps what it can
        return args


def _id_of(what: str, given: object) -> str:
    """A session id or origin as it is recorded; empty if none is given."""
    text = "" if given is None else as_text(given)
    name = admissible_id(text) if text else ""
    if name != text:
        log.warning("this %s is too long or has control characters; it is recorded as %s", what, name)
    return name


def _nanoseconds(wall_ns: Any) -> int:
    """A time as an integer, small enough that its time on the monotonic clock has 64 bits. Raises `ValueError`."""
    time = int(wall_ns)
    if not -(2**62) < time < 2**62:
        raise ValueError(f"{time} is not nanoseconds since the epoch")
    return time


class _NoTimer:
    def cancel(self) -> None:
        """Do nothing."""


_NO_TIMER: Timer = _NoTimer()
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _reopen_after_fork() -> None:
    for recorder in list(_recorders):
        recorder._reopen_in_child()  # noqa: SLF001 - the recorder's own


os.register_at_fork(after_in_child=_reopen_after_fork)
