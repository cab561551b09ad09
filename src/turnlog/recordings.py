"""Recordings: files of hook calls as JSON lines, optionally gzipped.

A line is a whole session, ``{"name": …, "calls": [call, …]}``, or one call with its ``session``. A call is
``{"target": "collector" | "traces", "hook": …, "args": {…}, "perf_ns": …, "wall_ns": …}``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError

from eventstore.admission import Inadmissible, admit
from eventstore.errors import BadArguments, TurnlogError, UnknownHook
from eventstore.event import Event
from eventstore.hooks.arguments import encode_args
from eventstore.hooks.traces import A2ASpan
from eventstore.hooks.vocabulary import find_hook
from eventstore.recording.recorder import Recorder

IMPORT_ORIGIN = "import"
MAX_LINE_BYTES = 32 << 20
"""Maximum length of a line, decompressed. Parsed hook calls need about 30 times as much memory."""


class BadRecording(TurnlogError):
    """The file cannot be read; the message names the file and the line."""


class HookCall(BaseModel):
    """One hook call of a file."""

    model_config = ConfigDict(extra="allow", frozen=True)

    target: Literal["collector", "traces"]
    hook: str
    args: Annotated[dict[str, Any], BeforeValidator(lambda args: {} if args is None else args)] = {}
    perf_ns: int = Field(ge=-(2**63), lt=2**63)
    wall_ns: int = Field(ge=-(2**63), lt=2**63)


class Recording(BaseModel):
    """One session of a file; unknown keys are passed through."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)
    calls: Annotated[list[HookCall], FailFast()]  # a line may have millions of calls, each with errors


class _LooseCall(HookCall):
    session: str = Field(min_length=1)


Opener = Callable[[Path], IO[bytes]]


def read_recordings(path: Path, open_file: Opener = lambda path: path.open("rb")) -> Iterator[tuple[str, Recording]]:
    """Yield the sessions of a file, each with its place (file and line).

    Raises `BadRecording`. ``open_file`` lets a caller track progress.
    """
    loose: dict[str, list[HookCall]] = {}
    for place, line in _parse(path, open_file):
        with _locate_errors(place):
            found = _parse_line(path, line)
        if isinstance(found, Recording):
            yield place, found
        else:
            loose.setdefault(found.session, []).append(found)
    for session, calls in loose.items():
        yield str(path), Recording(name=session, calls=calls)


def _parse_line(path: Path, line: Any) -> Recording | _LooseCall:
    """Validate a line: a whole session or a single call. Raises `ValidationError`."""
    if isinstance(line, dict) and "calls" not in line and "hook" in line:
        return _LooseCall.model_validate({"session": line.get("session_id") or path.stem, **line})
    return Recording.model_validate(line)


FORMATS = "import takes recordings of calls, archives, and what `turnlog export jsonl` writes"


@contextmanager
def _locate_errors(place: str) -> Iterator[None]:
    """Turn a validation error into a `BadRecording` that names the place."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRecording(f"{place}: {where + ': ' if where else ''}{first['msg']}; {FORMATS}") from error


def _parse(path: Path, open_file: Opener) -> Iterator[tuple[str, Any]]:
    for place, line in file_lines(path, open_file):
        try:
            yield place, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if line.startswith(b"SQLite format 3"):
                raise BadRecording(f"{path} is an SQLite database, not a file to import; open it with --db") from error
            raise BadRecording(f"{place}: not JSON: {error}") from error


def file_lines(path: Path, open_file: Opener) -> Iterator[tuple[str, bytes]]:
    """Yield the non-empty lines of a file, decompressed, each with its place.

    Raises `BadRecording`, also for a line longer than `MAX_LINE_BYTES`: a small file may decompress to any size.
    """
    number = 0
    try:
        with open_file(path) as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            found: IO[bytes] = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
            while line := found.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise BadRecording(f"{path}:{number}: the line is longer than {MAX_LINE_BYTES >> 20} MiB")
                if line.strip():
                    yield f"{path}:{number}", line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRecording(f"{path}: truncated or damaged after line {number}: {error}") from error
    except OSError as error:
        raise BadRecording(f"{path}: {error.strerror or error}") from error


def stream_recordings(path: Path, open_file: Opener = lambda path: path.open("rb")) -> Iterator[str | Event]:
    """Yield a file's events in file order; the name of each session comes before its first event.

    Memory holds one line at a time. Raises what `read_recordings` and `events_of` do.
    """
    counts: dict[str, int] = {}
    for place, line in _parse(path, open_file):
        with _locate_errors(place):
            found = _parse_line(path, line)
        if isinstance(found, Recording):
            yield found.name
            yield from _events(place, found)
            continue
        if found.session not in counts:
            yield found.session
        seq = counts.get(found.session, 0)
        counts[found.session] = seq + 1
        yield _event(place, found.session, seq, found)


def events_of(place: str, recording: Recording) -> list[Event]:
    """The recording's calls as events of the session ``recording.name``, all of one origin.

    Raises `BadRecording` for unknown hooks, arguments that do not match, and events that no recorder writes
    (`eventstore.admission`).
    """
    return list(_events(place, recording))


def _events(place: str, recording: Recording) -> Iterator[Event]:
    for seq, call in enumerate(recording.calls):
        yield _event(place, recording.name, seq, call)


def _event(place: str, session: str, seq: int, call: HookCall) -> Event:
    try:
        hook = find_hook(call.target, call.hook)
        payload = encode_args(hook.complete(call.args)).decode()
        event = Event(session, IMPORT_ORIGIN, seq, hook.name, hook.version, call.perf_ns, call.wall_ns, payload)
        admit(event)
    except (UnknownHook, BadArguments, Inadmissible) as error:
        raise BadRecording(f"{place}: call {seq}: {error}") from error
    return event


class RecordedClock:
    """A clock set to the times of the current call."""

    perf_ns = 0
    wall_ns = 0

    def read_perf_ns(self) -> int:
        return self.perf_ns

    def read_wall_ns(self) -> int:
        return self.wall_ns


def drive(recorder: Recorder, clock: RecordedClock, calls: Iterable[HookCall]) -> None:
    """Call the recorder's hooks as the agent did, each at its recorded time."""
    created: list[A2ASpan] = []
    for call in calls:
        clock.perf_ns, clock.wall_ns = call.perf_ns, call.wall_ns
        target: Any = recorder if call.target == "collector" else recorder.traces
        method, args = getattr(target, call.hook), dict(call.args)
        if "attached" in args:
            method(object() if args["attached"] else None)
        elif call.hook in ("set_eou_config", "set_interrupt_config"):
            method(SimpleNamespace(**args["config"]) if args["config"] is not None else None)
        elif call.hook == "set_session_metrics":
            method(None)
        elif call.hook == "create_a2a_trace":
            created.append(method(**args))
        elif call.hook == "end_a2a_trace":
            index = args["index"]
            method(created[index] if index < len(created) else None)
        else:
            returned = method(**args)
            if hasattr(returned, "send"):
                _finish(returned)


def _finish(coroutine: Any) -> None:
    """Run an async hook, none of which ever waits, to its end."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("an async hook waited for something")
