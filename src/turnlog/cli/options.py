"""Options and arguments that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

TURNLOG_DB = "TURNLOG_DB"
HEADERS = "TURNLOG_HEADERS"
"""Environment variable for headers; it keeps tokens out of process lists."""

DbOption = Annotated[
    list[str] | None,
    typer.Option(
        "--db",
        metavar="URL",
        help=f"Event log: a path, sqlite:///calls.db or postgresql+psycopg://…  [default: ${TURNLOG_DB}, "
        "else calls.db in your data folder]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Print the details of each turn.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Skip the confirmation; required where there is no terminal to ask on.")
]
ArchiveOption = Annotated[
    str | None,
    typer.Option(
        metavar="ARCHIVE",
        help="Read this archive instead of the log: a folder or s3://BUCKET/PREFIX. "
        "Keys of encrypted content come from the log.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(metavar="NUMBER", min=1, help="Number of processes.  [default: all cores]", show_default=False),
]
RulesOption = Annotated[
    str,
    typer.Option(metavar="RULES", help="Rule set to replay under, with switches as SET+SWITCH; see `turnlog rules`."),
]

SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="Session id, as listed by `turnlog sessions`.")]
SessionsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="SESSION", help="Session ids, as listed by `turnlog sessions`.")
]
SomeSessions = Annotated[
    list[str] | None, typer.Argument(metavar="SESSION", help="Only these sessions; by default all of them.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Take every session of the log, oldest first.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATETIME", help="Only sessions that started then or later: 2026-03-01 or 2026-03-01T12:30, UTC."
    ),
]
UntilOption = Annotated[str | None, typer.Option(metavar="DATETIME", help="Only sessions that started earlier.")]

FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE", help="JSON lines, plain or gzipped.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write to this file instead of standard output."),
]
JournalOption = Annotated[
    Path | None,
    typer.Option(
        "--journal", metavar="FOLDER", help="Journal folder.  [default: the database's own]", show_default=False
    ),
]

CollectorOption = Annotated[
    str,
    typer.Option(
        "--endpoint", metavar="URL", help="Collector: http://localhost:4318/v1/traces, or port 4317 with --grpc."
    ),
]
GrpcOption = Annotated[bool, typer.Option("--grpc", help="Use gRPC instead of HTTP.")]
ProfileOption = Annotated[
    Literal["reference", "semconv"],
    typer.Option(
        metavar="PROFILE",
        help="Attribute names: `reference` as videosdk-agents writes them, `semconv` of OpenTelemetry GenAI and "
        "OpenInference.",
    ),
]
ServiceOption = Annotated[
    str | None,
    typer.Option(envvar="OTEL_SERVICE_NAME", metavar="NAME", help="Service name of the spans.", show_default=False),
]
ProjectOption = Annotated[str | None, typer.Option(metavar="NAME", help="Project name in Arize Phoenix.")]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME=VALUE",
        help=f"Send this header with every request; repeatable.  [default: ${HEADERS}, comma-separated]",
        show_default=False,
    ),
]


def wire_of(grpc: bool) -> Literal["grpc", "http/protobuf"]:
    return "grpc" if grpc else "http/protobuf"
