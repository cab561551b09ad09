"""The commands: where each is, and what it does in one line. Its module is imported when it is run."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command, or a group of them."""

    module: str
    """In this package."""
    function: str
    """Its function; ``app`` if it is a group of commands."""
    summary: str
    """The first line of its help."""


COMMANDS: dict[str, dict[str, Command]] = {
    "Look at calls": {
        "demo": Command("demo", "demo", "Record a sample call into a temporary log and replay it."),
        "sessions": Command("sessions", "sessions", "List the recorded sessions, newest first."),
        "replay": Command("calls", "replay", "Show a session's turns: what the caller waited for."),
        "events": Command("log", "events", "List a session's events in canonical order."),
        "spans": Command("calls", "spans", "Show a session's spans as a tree."),
        "payloads": Command("calls", "payloads", "Show a session's analytics payloads, one per turn."),
        "barge-ins": Command("barge_ins", "barge_ins", "List barge-ins: how soon the agent yielded, what was cut."),
        "explain": Command("explain", "explain", "Show the events and decisions behind a value."),
        "tail": Command("log", "tail", "Print events as they are stored, until interrupted."),
    },
    "Measure and compare": {
        "stats": Command("stats", "stats", "Show percentiles of latencies, and rates, over sessions."),
        "check": Command("check", "check", "Check latencies and rates against a budget; exit 1 on failure."),
        "diff": Command("diff", "diff", "Compare turns: two rule sets, two logs, or a digest file."),
        "digest": Command("diff", "digest", "Write digests of sessions for `turnlog diff --digests`."),
        "rules": Command("rules", "rules", "List the rule sets with their decisions and switches."),
        "conformance": Command("rules", "conformance", "Compare replays with recorded output of videosdk-agents."),
    },
    "Record, import, export": {
        "record": Command("demo", "record", "Run a framework's demo agent offline and record its call."),
        "import": Command("log", "import_", "Import recorded calls or archived sessions."),
        "export": Command("export", "app", "Export sessions to files or a collector."),
        "deliver": Command("deliver", "app", "Deliver calls to other systems, each item at least once."),
        "playground": Command("playground", "playground", "Follow the playground messages of a VideoSDK session."),
        "schema": Command("calls", "schema", "Print the JSON Schema of the analytics payload."),
    },
    "Keep the log": {
        "init": Command("log", "init", "Create or migrate the database."),
        "recover": Command("log", "recover", "Move events from the journals of crashed processes to the log."),
        "verify": Command("verify", "verify", "Verify the log's hash chains and report tampering."),
        "seal": Command("verify", "seal", "Print a digest of a session or the log as evidence."),
        "keys": Command("keys", "app", "Manage the keys of encrypted sessions."),
        "forget": Command("trust", "forget", "Destroy the content of an encrypted session for good."),
        "retention": Command("trust", "retention", "Archive old sessions and remove them from the log."),
    },
}
"""By heading, in the order of ``turnlog --help``."""
