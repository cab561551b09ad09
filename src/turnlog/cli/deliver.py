"""``turnlog deliver``: what the calls make, to the systems that want it; from where it was left, as often as needed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from eventstore.errors import TurnlogError
from eventstore.store import Store
from projections.rules import VIDEOSDK_1_0
from turnlog.cli.calls import BadChoice, RulesOption
from turnlog.cli.common import DbOption, JsonOption, existing, moment, output, print_json, progress

app = typer.Typer(
    help="Deliver calls to other systems: at least once, in order, from where it was left.",
    no_args_is_help=True,
    invoke_without_command=True,
)


class NotDelivered(TurnlogError):
    """Something was refused, or is left for the next time."""
