"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

TURNLOG_DB = "TURNLOG_DB"
DbOption = Annotated[
    list[str] | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="The event log: sqlite:///calls.db, a path, or postgresql+psycopg://…; before or after the command. Else "
        f"that of {TURNLOG_DB} in the environment.",
        show_default="a file in your data folder",
    ),
]


YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking; needed where there is no terminal.")]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="As `turnlog sessions` lists it.")]


HEADERS = "TURNLOG_HEADERS"
"""The environment variable that has headers, so that no token stands in a list of processes."""


RulesOption = Annotated[
    str, typer.Option(metavar="SET[+SWITCH…]", help="The rule set to replay under; see `turnlog rules`.")
]


SessionsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="SESSION…", help="As `turnlog sessions` lists them.", show_default=False)
]


OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write here.", show_default="standard output")
]


CollectorOption = Annotated[
    str, typer.Option("--endpoint", metavar="URL", help="http://localhost:4318/v1/traces, or :4317 for gRPC.")
]


GrpcOption = Annotated[bool, typer.Option("--grpc", help="gRPC instead of HTTP.")]


ProfileOption = Annotated[
    Literal["reference", "semconv"],
    typer.Option(help="Attributes: the reference's, or those of OpenTelemetry GenAI and OpenInference."),
]


ServiceOption = Annotated[
    str | None, typer.Option(envvar="OTEL_SERVICE_NAME", metavar="NAME", show_default="the reference's")
]


ProjectOption = Annotated[str | None, typer.Option(metavar="NAME", help="For Arize Phoenix.")]


HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header", metavar="NAME=VALUE", help=f"Sent with every request; else those in {HEADERS}, between commas."
    ),
]


AllOption = Annotated[bool, typer.Option("--all", help="Every session of the log, the oldest first.")]


def wire_of(grpc: bool) -> Literal["grpc", "http/protobuf"]:
    return "grpc" if grpc else "http/protobuf"


SomeSessions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SESSION…]", help="Only these; as `turnlog sessions` lists them.", show_default="all"),
]


SinceOption = Annotated[
    str | None, typer.Option(metavar="MOMENT", help="Only sessions that began then or later: 2026-03-01, UTC.")
]


UntilOption = Annotated[str | None, typer.Option(metavar="MOMENT", help="Only sessions that began before.")]


FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE…", help="JSON lines of calls; may be gzipped.")]
