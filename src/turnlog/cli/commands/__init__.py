"""The table of commands: module, function and summary. A command's module is imported when it runs."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A command or group of commands in the list."""

    module: str
    """Module in this package."""
    function: str
    """Function in the module; ``app`` for a group of commands."""
    summary: str
    """First line of the help."""


COMMANDS: dict[str, dict[str, Row]] = {
    "Look at calls": {
        "demo": Row("demo", "demo", "Record a sample call into a temporary log and replay it."),
        "sessions": Row("sessions", "sessions", "List the recorded sessions, newest first."),
        "replay": Row("calls", "replay", "Show a session's turns: what the caller waited for."),
        "events": Row("log", "events", "List a session's events in canonical order."),
        "spans": Row("calls", "spans", "Show a session's spans as a tree."),
        "payloads": Row("calls", "payloads", "Show a session's analytics payloads, one per turn."),
        "barge-ins": Row("barge_ins", "barge_ins", "List barge-ins: how soon the agent yielded, what was cut."),
        "explain": Row("explain", "explain", "Show the events and decisions behind a value."),
        "view": Row("serve", "view", "Show calls in a browser, until interrupted."),
        "tail": Row("log", "tail", "Print events as they are stored, until interrupted."),
    },
    "Measure and compare": {
        "stats": Row("stats", "stats", "Show percentiles of latencies, and rates, over sessions."),
        "check": Row("check", "check", "Check latencies and rates against a budget; exit 1 on failure."),
        "diff": Row("diff", "diff", "Compare turns: two rule sets, two logs, or a digest file."),
        "digest": Row("diff", "digest", "Write digests of sessions for `turnlog diff --digests`."),
        "rules": Row("rules", "rules", "List the rule sets with their decisions and switches."),
        "conformance": Row("rules", "conformance", "Compare replays with recorded output of videosdk-agents."),
    },
    "Record, import, export": {
        "record": Row("demo", "record", "Run a framework's demo agent offline and record its call."),
        "import": Row("log", "import_", "Import recorded calls or archived sessions."),
        "export": Row("export", "app", "Export sessions to files or a collector."),
        "deliver": Row("deliver", "app", "Deliver calls to other systems, each item at least once."),
        "playground": Row("serve", "playground", "Follow the playground messages of a VideoSDK session."),
        "schema": Row("calls", "schema", "Print the JSON Schema of the analytics payload."),
    },
    "Keep the log": {
        "init": Row("log", "init", "Create or migrate the database."),
        "recover": Row("log", "recover", "Move events from the journals of crashed processes to the log."),
        "project": Row("stats", "project", "Replay new and changed sessions now, for fast statistics."),
        "verify": Row("verify", "verify", "Verify the log's hash chains and report tampering."),
        "seal": Row("verify", "seal", "Print a digest of a session or the log as evidence."),
        "rebuild": Row("archives.rebuild", "rebuild", "Replay an archive into Parquet files, in parallel."),
        "archive": Row("archives.archive", "app", "Build, verify and edit archives of Parquet files."),
        "keys": Row("keys", "app", "Manage the keys of encrypted sessions."),
        "forget": Row("trust", "forget", "Destroy the content of an encrypted session for good."),
        "retention": Row("trust", "retention", "Archive old sessions and remove them from the log."),
    },
}
"""By heading, in the order of ``turnlog --help``."""
