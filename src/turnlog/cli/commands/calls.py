"""Commands that replay one session: replay, schema, payloads, spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Annotated, Any

import msgspec
import typer
from rich.highlighter import JSONHighlighter

from eventstore.event import Event
from eventstore.integrity.gaps import Gap, gaps_in
from projections.boundary import replaying
from projections.caller import RULES as TURNLOG
from projections.caller import Reading, reading_dict
from projections.framework_figures import add_figures
from projections.readings import reading
from projections.reference.replay import Call, call_dict
from projections.spans import identities
from turnlog.cli.common import BadChoice, existing
from turnlog.cli.options import ArchiveOption, DbOption, JsonOption, RulesOption, SessionArgument
from turnlog.console import output
from turnlog.sessions import find_session, read_session
from turnlog.terminal import json_text, plural, print_json


def replay(
    context: typer.Context,
    session: SessionArgument,
    turn: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Show only this turn; the first is 1.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ",
            help="Show the state just after this event; use ORIGIN:SEQ if the session has several origins.",
        ),
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Show every log line, not only the first of each turn.")] = False,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a session's turns: what the caller waited for.

    Each turn has its response time and the parts of it, what was said, barge-ins, and a waterfall of what ran.
    """
    with closing(existing(context, db, archive)) as store, replaying(session):
        scan = _EventScan(at)
        gaps = gaps_in(scan.each(store.read(session)))
        if not scan.count:
            find_session(store, session)
        count = scan.replay_count()
        call = reading(islice(store.read(session), count), rules)
        turns = len(call.exchanges if isinstance(call, Reading) else call.turns)
        if turn is not None and turn > turns:
            raise BadChoice(f"there is no turn {turn}; session {session!r} has {plural(turns, 'turn')}")
        if isinstance(call, Reading):
            add_figures(call, islice(store.read(session), count))
        if not as_json:
            _show(call, turn, all_logs=logs, missing=gaps)
        elif turn is not None:
            print_json(_turn_dict(call, turn))
        else:
            plain = reading_dict(call) if isinstance(call, Reading) else call_dict(call)
            print_json(plain | {"missing": [gap._asdict() | {"calls": gap.calls} for gap in gaps]})


def _turn_dict(call: Reading | Call, number: int) -> Any:
    return msgspec.to_builtins(call.turn(number)) if isinstance(call, Reading) else call_dict(call)["turns"][number - 1]


def _show(call: Reading | Call, turn: int | None, *, all_logs: bool, missing: list[Gap]) -> None:
    if isinstance(call, Reading):
        from turnlog.cli.render.reading import show_reading

        show_reading(output(), call, turn, all_logs=all_logs, missing=missing)
    else:
        from turnlog.cli.render.framework import show_call

        show_call(output(), call, turn, all_logs=all_logs, missing=missing)


class _EventScan:
    """A pass over a session's events that counts them and finds the one at ``at``, without keeping any."""

    def __init__(self, at: str | None) -> None:
        self.at, self.count, self.last_seq = at, 0, -1
        self.origin, _colon, number = ("", "", "-1") if at is None else at.rpartition(":")
        if at is not None and not number.isdigit():
            raise BadChoice(f"--at takes the seq of an event, as listed by `turnlog events`, not {at!r}")
        self.seq, self.found = int(number), list[tuple[int, str]]()

    def each(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events unchanged while scanning them."""
        for self.count, event in enumerate(events, 1):
            self.last_seq = event.seq
            if event.seq == self.seq and self.origin in ("", event.origin):
                self.found.append((self.count, event.origin))
            yield event

    def replay_count(self) -> int:
        """The number of events up to and including ``at``; all of them without it. Raises `BadChoice`."""
        if self.at is None:
            return self.count
        if not self.found:
            raise BadChoice(f"there is no event {self.at}; the last one is {self.last_seq}")
        if len(self.found) > 1:
            origins = ", ".join(f"{origin}:{self.seq}" for _count, origin in self.found)
            raise BadChoice(f"several origins have an event {self.seq}; pick one: {origins}")
        return self.found[0][0]


def schema() -> None:
    """Print the JSON Schema of the analytics payload."""
    from exporters.analytics.schema import AnalyticsPayload

    print_json(AnalyticsPayload.model_json_schema())


def payloads(
    context: typer.Context,
    session: SessionArgument,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a session's analytics payloads, one per turn."""
    store = existing(context, db, archive)
    with replaying(session):
        found = reading(read_session(store, session), rules).payloads
    store.close()
    if as_json:
        print_json(found)
        return
    console = output()
    for number, payload in enumerate(found, 1):
        console.print(f"[bold]turn {number}[/]")
        console.print(JSONHighlighter()(json_text(payload)), soft_wrap=True)
    if not found:
        console.print("no turns, so no payloads")


def spans(
    context: typer.Context,
    session: SessionArgument,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a session's spans as a tree."""
    from turnlog.cli.render.spans import span_tree

    store = existing(context, db, archive)
    with replaying(session):
        call = reading(read_session(store, session), rules)
        store.close()
        if as_json:
            print_json(_span_dicts(call))
        else:
            output().print(span_tree(call))


def _span_dicts(call: Reading | Call) -> list[dict[str, Any]]:
    """The spans as JSON data, with trace and span ids."""
    if isinstance(call, Call):
        found: list[dict[str, Any]] = call_dict(call)["spans"]
        return found
    ids = identities(call.session_name, call.spans)
    return [
        {"trace_id": ids[span.id][0], "span_id": ids[span.id][1], **msgspec.to_builtins(span)} for span in call.spans
    ]
