"""Turns as statistics see them."""

from __future__ import annotations

from typing import Any

from eventstore import Store
from projections.measures import TurnMeasures
from projections.measures.row import pack
from turnlog.read_models import plan
from turnlog.sessions import started_between
from turnlog.stats.collect import collect
from turnlog.stats.figures import Figure, figure
from turnlog.stats.metrics import find_metric
from turnlog.stats.table import TurnTable, columns_of

RULES = "videosdk-1.0"


def of(table: TurnTable, name: str) -> Figure:
    return figure(table, find_metric(name))


def tabled(store: Store, by: str | None = None) -> TurnTable:
    return collect(store, plan(store, started_between(store.sessions(), None, None), RULES), by)


def made(e2e: list[float] | list[float | None], **fields: list[Any]) -> TurnTable:
    """A table of one session, without a log."""
    blank: dict[str, Any] = dict.fromkeys(TurnMeasures.__struct_fields__)
    blank |= {"interrupted": False, "false_interruption": False, "tools": 0, "errors": 0, "fallbacks": 0}
    blank |= {
        "asked": False,
        "unanswered": False,
        "agent": "",
        "session": "s",
        "opened_at": 0.0,
        "stt": "",
        "llm": "",
        "tts": "",
        "realtime": "",
        "version": "",
    }
    turns = []
    for number, value in enumerate(e2e, 1):
        own = {name: column[number - 1] for name, column in fields.items()}
        turns.append(TurnMeasures(**(blank | {"turn": number, "e2e_ms": value} | own)))
    return TurnTable(columns_of([("s", pack(turns))]), rules=RULES)
