"""Commands for the integrity of a log: verify, seal."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventstore.errors import StoreError, StoreUnavailable, TurnlogError
from eventstore.integrity.gaps import Gap
from eventstore.integrity.session import Fault, check_session
from eventstore.stores.base import Store
from turnlog.cli.common import existing, jobs_or_all, progress
from turnlog.cli.options import DbOption, JobsOption, JsonOption
from turnlog.files import atomic_file
from turnlog.sessions import find_session
from turnlog.terminal import json_escaped, plural, print_json, say, stdout_file

if TYPE_CHECKING:
    from turnlog.archive.log_seals import LogSeal, Since
    from turnlog.archive.seals import Seal


class BadScope(TurnlogError):
    """Not exactly one of a session and the whole log was named."""


@dataclass
class Found:
    """The results of a verification. Faults and gaps are printed when they are found, or kept for JSON."""

    keep: bool
    sessions: int = 0
    events: int = 0
    fault_count: int = 0
    lost_calls: int = 0
    faults: list[Fault] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    since: Since | None = None
    rows: int | None = None
    """Number of read models compared; None if they are not to be."""

    def add(self, faults: Iterable[Fault], gaps: Iterable[Gap] = ()) -> None:
        for fault in faults:
            self.fault_count += 1
            if self.keep:
                self.faults.append(fault)
            else:
                say(f"{fault.kind}: {fault.message}")
        for gap in gaps:
            self.lost_calls += gap.calls
            if self.keep:
                self.gaps.append(gap)
            else:
                say(f"missing: session {gap.session_id!r}, origin {gap.origin!r}: {gap}")


def verify(
    context: typer.Context,
    session: Annotated[
        str | None, typer.Argument(metavar="SESSION", help="Verify only this session, without log-wide checks.")
    ] = None,
    seal: Annotated[Path | None, typer.Option(metavar="FILE", help="Compare with this saved seal.")] = None,
    public_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Public key that must match the seal's signature.")
    ] = None,
    read_models: Annotated[
        bool, typer.Option("--read-models", help="Replay the sessions too, and compare the rows kept of them.")
    ] = False,
    jobs: JobsOption = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the log's hash chains and report tampering.

    Covers chain heads, orphaned rows, types, tombstones and the schema as well. Calls lost before they were stored are
    listed as missing; they are not faults.
    """
    from turnlog.archive import log_seals, seals

    sealed = log_seals.load_seal(seal, public_key) if seal is not None else None
    store = existing(context, db)
    name = session
    if isinstance(sealed, seals.Seal):
        name = session or sealed.session_id
        if name != sealed.session_id:
            raise seals.BadSeal(f"{seal} is a seal of session {sealed.session_id!r}, not of {name!r}")
    elif sealed is not None and session is not None:
        raise seals.BadSeal(f"{seal} is a seal of the whole log; leave out the session")
    found = Found(keep=as_json)
    try:
        _verify_chains(store, name, sealed, found)
        if name is None:
            _check_log(store, found)
        if sealed is not None:
            _check_seal(store, sealed, found)
        if read_models:
            _check_rows(store, name, jobs, found)
    finally:
        store.close()
    if as_json:
        print_json(_found_dict(found))
    else:
        _show(found)
    if found.fault_count:
        raise typer.Exit(1)


def _verify_chains(store: Store, name: str | None, sealed: LogSeal | Seal | None, found: Found) -> None:
    """Verify the hash chains of one session, or of all."""
    try:
        sessions = _sessions(store, name)
    except StoreUnavailable:
        raise
    except StoreError as error:
        found.add([Fault(None, None, None, "unreadable", f"the list of origins: {error}")])
        return
    if name is not None and not sessions and sealed is None:
        find_session(store, name)  # raises, suggesting the closest name
    found.sessions, found.events = len(sessions), sum(sessions.values())
    with progress() as bar:
        task = bar.add_task("verifying", total=found.events)
        for each in sessions:
            report = check_session(store, each, lambda events: bar.advance(task, events))
            found.add(report.faults, report.gaps)


def _sessions(store: Store, name: str | None) -> dict[str, int]:
    """The number of events of each session with an origin, read from the rows, whose values are not trusted."""
    from eventstore.integrity.audit import audit, is_valid_text

    log = audit(store)
    if log is None:
        return {s.session_id: s.events for s in store.sessions() if name in (None, s.session_id)}
    sessions: dict[str, int] = {}
    for head in log.heads(name):
        if is_valid_text(head.session_id):  # `eventstore.integrity.log` reports the others
            events = head.events if type(head.events) is int and head.events > 0 else 0
            sessions[head.session_id] = sessions.get(head.session_id, 0) + events
    return sessions


def _check_log(store: Store, found: Found) -> None:
    from eventstore.integrity.log import verify_log

    report = verify_log(store)
    found.add(report.faults)
    found.unchecked += report.unchecked


def _check_seal(store: Store, sealed: LogSeal | Seal, found: Found) -> None:
    from turnlog.archive import log_seals

    try:
        faults, found.since = log_seals.check_log_seal(store, sealed)
        found.add(faults)
    except StoreUnavailable:
        raise
    except StoreError as error:
        found.add([Fault(None, None, None, "unreadable", f"the seal cannot be compared: {error}")])


def _check_rows(store: Store, name: str | None, jobs: int | None, found: Found) -> None:
    from turnlog.read_models.audit import differences, fresh_rows

    rows = fresh_rows(store, name)
    found.rows = sum(map(len, rows.values()))
    with progress() as bar:
        task = bar.add_task("comparing", total=sum(s.events for sessions in rows.values() for s in sessions))
        for difference in differences(store, rows, jobs_or_all(jobs), lambda events: bar.advance(task, events)):
            found.add([Fault(difference.session_id, None, None, "row", difference.message)])


def _found_dict(found: Found) -> dict[str, Any]:
    report: dict[str, Any] = {
        "sessions": found.sessions,
        "events": found.events,
        "faults": [fault._asdict() for fault in found.faults],
        "gaps": [gap._asdict() | {"calls": gap.calls} for gap in found.gaps],
        "unchecked": found.unchecked,
    }
    if found.rows is not None:
        report["read_models"] = found.rows
    if found.since is not None:
        report["since"] = found.since._asdict() | {"removed": [removal._asdict() for removal in found.since.removed]}
    return report


def _show(found: Found) -> None:
    """Print what is known at the end."""
    for line in found.unchecked:
        say(f"not checked: {line}")
    if found.since is not None:
        for line in _changes_since(found.since):
            say(f"since the seal: {line}")
    counts = f"{plural(found.sessions, 'session')}, {plural(found.events, 'event')}"
    missing = f", {plural(found.lost_calls, 'call')} missing" if found.lost_calls else ""
    if found.fault_count:
        say(f"{counts}{missing}, {plural(found.fault_count, 'fault')}")
    else:
        rows = "" if found.rows is None else f"; {plural(found.rows, 'read model')} as replayed"
        say(f"{counts}: all hash chains valid{missing}{rows}")


def _changes_since(since: Since) -> Iterable[str]:
    for removal in since.removed:
        yield f"session {removal.session_id!r} was removed by retention; its archive: {removal.archive}"
    for session_id in since.forgotten:
        yield f"the content of session {session_id!r} was forgotten"
    if since.new or since.grown:
        yield f"{plural(len(since.new), 'new session')}, {len(since.grown):,} grown"


def seal(
    context: typer.Context,
    session: Annotated[
        str | None, typer.Argument(metavar="SESSION", help="Session id, as listed by `turnlog sessions`.")
    ] = None,
    whole_log: Annotated[bool, typer.Option("--all", help="Seal the whole log, including tombstones.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this file instead of standard output.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="Sign with this Ed25519 private key.")] = None,
    db: DbOption = None,
) -> None:
    """Print a digest of a session or the log as evidence.

    The digest is JSON. Keep it outside of the log, for `turnlog verify --seal`.
    """
    if (session is None) is not whole_log:
        raise BadScope("name a SESSION, or pass --all to seal the whole log")
    store = existing(context, db)
    try:
        text = json_escaped(_seal_document(store, session, key).decode()).encode()
    finally:
        store.close()
    with atomic_file(out) if out is not None else nullcontext(stdout_file()) as file:
        file.write(text)


def _seal_document(store: Store, session: str | None, key: Path | None) -> bytes:
    """The seal of a session, or of the whole log, as a JSON document."""
    import orjson

    from turnlog.archive import log_seals, seals

    if session is None:
        document = io.BytesIO()
        log_seals.write_log_seal(log_seals.seal_log(store, key), document)
        return document.getvalue()
    find_session(store, session)
    session_seal = seals.seal_session(store, session, key).model_dump(exclude_none=True)
    return orjson.dumps(session_seal, option=orjson.OPT_INDENT_2) + b"\n"
