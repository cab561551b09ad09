"""Commands over many sessions: one that cannot be replayed is named, and the others go on."""

from __future__ import annotations

import orjson
import pytest

from eventstore import Event, open_store
from support.http_receiver import Receiver
from support.program import FIXTURES, Program

pytestmark = pytest.mark.slow

BAD = "cannot be replayed"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Good sessions, and some that older versions let in, or that were tampered with."""
    program = Program(tmp_path_factory.mktemp("survey"))
    program.run("import", FIXTURES / "demo.jsonl.gz")
    store = open_store(program.db)
    payloads = ["not json", "[" * 2000 + "]" * 2000, '{"$happened_ns":' + "9" * 5000 + "}", '{"transcript":"\\ud800"}']
    for number, payload in enumerate(payloads):
        store.append([Event(f"bad-{number}", "o", 0, "set_user_transcript", 1, 1, 1, payload)])
    store.append([Event("bad-hook", "o", 0, "zzz", 1, 1, 1, "{}")])
    store.append([Event("bad-version", "o", 0, "on_llm_start", 99, 1, 1, "{}")])
    store.close()
    return program


FAILED = {"bad-0", "bad-1", "bad-2", "bad-3", "bad-hook", "bad-version"}


@pytest.mark.parametrize(
    "command",
    [
        ("stats",), ("stats", "--json"), ("stats", "--by", "day"), ("export", "csv", "--all"),
        ("export", "payloads", "--all"), ("export", "perfetto", "--all"), ("digest", "--all"), ("barge-ins", "--all"),
        ("barge-ins", "--all", "--json"), ("diff", "--all", "--rules", "videosdk-1.0", "--rules", "videosdk-1.0.30"),
        ("check", "budget.toml"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_others_go_on(log: Program, command: tuple[str, ...]) -> None:
    """Break: in turnlog/survey.py, ``each``, raise the first error; or, ``finish``, pass."""
    (log.folder / "budget.toml").write_text("budgets = ['sessions.count >= 1']")
    done = log.run(*command, code=1)
    *named, last = done.stderr.splitlines()
    assert {name for name in FAILED if any(name in line for line in named)} == FAILED, done.stderr
    assert last == "turnlog: 6 of 7 sessions failed; see the lines above"
    assert "Traceback" not in done.stderr
    assert done.stdout


def test_a_file_has_the_others_whole(log: Program) -> None:
    for kind in ("csv", "payloads", "perfetto"):
        log.run("export", kind, "barge_in_vad", "--out", "good")
        log.run("export", kind, "--all", "--out", "all", code=1)
        assert (log.folder / "all").read_bytes() == (log.folder / "good").read_bytes()
    log.run("export", "jsonl", "--all", "--out", "log.jsonl")
    log.run("digest", "barge_in_vad", "--out", "digests")
    assert "0 of" in log.run("diff", "--digests", "digests").stdout


@pytest.mark.parametrize("name", sorted(FAILED))
def test_one_session_is_one_line(log: Program, name: str) -> None:
    for command in (("replay",), ("payloads",), ("spans",), ("stats",), ("barge-ins",), ("export", "csv"), ("digest",)):
        assert name in log.fails(*command, name)
    log.run("events", name)
    assert orjson.loads(log.run("events", name, "--json").stdout)[0]["session_id"] == name


def test_unknown_rules_are_no_session_s_fault(log: Program) -> None:
    assert "known: turnlog" in log.fails("export", "csv", "--all", "--rules", "best")


def test_delivery_goes_on_past_those_that_cannot_be_replayed(log: Program) -> None:
    """Break: in exporters/delivery/outbox.py, ``_Failures.count``, count them."""
    with Receiver() as endpoint:
        done = log.run("deliver", "analytics", "--endpoint", endpoint.url, "--workers", 1, code=1)
        assert len(endpoint.taken) == 4
    assert all(name in done.stderr for name in ("bad-0", "bad-1", "bad-2"))
    assert "Traceback" not in done.stderr
