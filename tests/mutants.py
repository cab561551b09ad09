"""Break each law on purpose, in a copy, and see its test go red: ``make mutants``. A test that cannot fail is a defect.

A mutant is a file, a line of it, what to put there, and the test that has to fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[1]


class Mutant(NamedTuple):
    file: str
    old: str
    new: str
    test: str
    """A file of the tests, whatever its folder, and perhaps one of its tests."""

    def path(self) -> Path:
        """The test's file, from the top of the repository."""
        (found,) = (HERE / "tests").rglob(self.test.partition("::")[0])
        return found.relative_to(HERE)


MIGRATION = "migrations/versions/0002_origins.py"
WRITER = "src/eventstore/recording/writer.py"
RECOVERY = "src/eventstore/recording/recovery.py"
SET_ASIDE = "src/eventstore/recording/refused_events.py"
SQL = "src/eventstore/stores/sqlite/store.py"
FILE = "src/eventstore/stores/sqlite/file.py"
CARRY = "src/projections/reference/carry_over.py"
TURN = "src/projections/reference/handlers/turn.py"
DELIVERY = "src/exporters/delivery/outbox.py"
GUARD = "src/turnlog/viewer/security.py"
ARCHIVE = "src/exporters/archive/"
MUTANTS = [
    Mutant(GUARD, "PlainTextResponse(REFUSED, 403)", "self._app", "test_security.py::test_nothing_without_the_token"),
    Mutant(GUARD, "if not part.startswith", "if part.startswith", "test_security.py::test_the_token_becomes_a_cookie"),
    Mutant(GUARD, "script-src 'self'", "script-src 'unsafe-inline'", "test_security.py::test_what_pages_may_load"),
    Mutant(
        "src/turnlog/read_models/refresh.py",
        "store.decrypts, engine(), head.seal)",
        'store.decrypts, "", head.seal)',
        "test_read_models.py::test_law_read_model_is_replay",
    ),
    Mutant(
        "src/eventstore/stores/ledger.py",
        "            self._delete_rows(connection, session_id)",
        "            pass",
        "test_read_models.py::test_forget_and_retention_delete_rows",
    ),
    Mutant(
        "src/eventstore/stores/encrypted.py",
        "row if not row.opened else self._seal_row(row) for row in rows]",
        "row for row in rows]",
        "test_read_models.py::test_rows_under_a_master_key_have_no_text_in_the_clear",
    ),
    Mutant(MIGRATION, "WHEN NOT {unlocked", "WHEN 0 AND {unlocked", "test_sqlite_store.py::test_law_1"),
    Mutant(
        "src/eventstore/stores/sqlite/engine.py", "triggers = ON", "triggers = OFF", "test_sqlite_store.py::test_law_1"
    ),
    Mutant(
        MIGRATION,
        'name="linked_identity"),\n        sqlite_autoincrement=True',
        'name="linked_identity"),\n        sqlite_autoincrement=False',
        "test_sqlite_store.py::test_a_position_is_never_used_twice",
    ),
    Mutant(
        "src/projections/reference/metrics.py",
        "    errors: list[dict[str, Any]] = []\n    timestamp",
        "    errors: list[dict[str, Any]] = msgspec.field(default_factory=lambda kept=[]: kept)\n    timestamp",
        "test_laws.py::test_law_2",
    ),
    Mutant(
        "src/projections/reference/fold.py",
        "    find = HANDLERS.get\n",
        "    find = HANDLERS.get\n    s.user_speaking = False\n",
        "test_laws.py::test_law_3",
    ),
    Mutant("src/eventstore/event.py", "for n in sorted(s)]", "for n in s]", "test_laws.py::test_law_4"),
    Mutant(SQL, "ORDER BY seq", "ORDER BY position", "test_laws.py::test_law_4_in_sqlite"),
    Mutant(
        "src/eventstore/event.py",
        "yield (event.perf_ns + offset,",
        "yield (event.wall_ns,",
        "test_laws.py::test_several_origins",
    ),
    Mutant(
        "src/eventstore/recording/journal.py",
        "flags=mmap.MAP_SHARED |",
        "flags=mmap.MAP_PRIVATE |",
        "test_kill.py",
    ),
    Mutant(
        WRITER,
        "        refused = append_skipping_refused(self.store, events)",
        "        self.backlog.acknowledge()\n        refused = append_skipping_refused(self.store, events)",
        "test_kill.py::test_law_5_whatever",
    ),
    Mutant(
        RECOVERY,
        "    for batch in _batches(contents.events):\n",
        "    discard(path)\n    for batch in _batches(contents.events):\n",
        "test_kill.py::test_law_5_recovery",
    ),
    Mutant(
        WRITER,
        "            stop=give_up,",
        "            stop=lambda _: True,",
        "test_faults.py::test_an_sqlite_database",
    ),
    Mutant(
        RECOVERY,
        "    discard(path)\n\n\ndef _retry",
        "    path.unlink()\n\n\ndef _retry",
        "test_faults.py::test_what_was_left_behind",
    ),
    Mutant(
        "src/eventstore/recording/journal.py",
        "        path.unlink(missing_ok=True)\n    except OSError",
        "        path.unlink(missing_ok=True)\n    except KeyError",
        "test_faults.py::test_a_journal_folder_that_may_not_be_written_any_more",
    ),
    Mutant(
        "src/eventstore/recording/journal.py",
        "    except OSError as error:  # a parent folder may",
        "    except KeyError as error:  # a parent folder may",
        "test_faults.py::test_a_journal_folder_that_may_not_be_written",
    ),
    Mutant(
        SET_ASIDE, "    if len(events) > 1 and", "    if len(events) < 0 and", "test_origins.py::test_an_origin_used"
    ),
    Mutant(
        "src/eventstore/event.py",
        "in heapq.merge(*map(_timed, origins)))",
        "in sorted(timed for origin in origins for timed in _timed(origin)))",
        "test_origins.py::test_a_monotonic_clock",
    ),
    Mutant(
        "src/eventstore/event.py",
        "        yield (event.perf_ns + offset,",
        "        yield (event.wall_ns,",
        "test_origins.py::test_a_wall_clock_that_steps_while",
    ),
    Mutant(
        "src/eventstore/hooks/arguments.py",
        "    except Exception as error:  # noqa: BLE001 - user code may raise",
        "    except KeyError as error:  # noqa: BLE001 - user code may raise",
        "test_laws.py::test_law_6",
    ),
    Mutant(
        "src/eventstore/hooks/arguments.py",
        'if data.find(b"null") >= 0 and _has_nonfinite(args, 0):',
        "if False:",
        "test_laws.py::test_law_6_what_was_changed_is_marked",
    ),
    Mutant(
        "src/eventstore/stores/postgres/follow.py",
        "AND events.xid < pg_snapshot_xmin(pg_current_snapshot())",
        "",
        "test_follow.py::test_postgres_an_event_that_commits_late",
    ),
    Mutant(
        "src/eventstore/stores/postgres/follow.py",
        "ORDER BY events.xid, position",
        "ORDER BY xid, position",
        "test_follow.py::test_postgres_transactions",
    ),
    Mutant(
        "src/eventstore/stores/postgres/follow.py",
        "min(first_xid) FILTER (WHERE id > %(timeline)s),",
        "",
        "test_postgres_failover.py::test_asynchronous",
    ),
    Mutant(
        MIGRATION,
        "events_no_delete BEFORE DELETE ON events {row}",
        "events_no_delete BEFORE DELETE ON keys {row}",
        "test_postgres_store.py::test_law_1",
    ),
    Mutant(
        SQL,
        "    _held[:] = sorted(_stores, key=id)\n",
        "    _held[:] = []\n",
        "test_recorder.py::test_a_fork_in_the_middle",
    ),
    Mutant(
        "src/eventstore/stores/chain.py",
        "pack((seq, hook, version, perf_ns, wall_ns, payload))",
        "pack((seq, hook, version, perf_ns, wall_ns))",
        "test_verify.py::test_the_first_fault",
    ),
    Mutant(
        "src/eventstore/integrity/session.py",
        "if (count, last) == (origin.events, origin.link)",
        "if count >= 0",
        "test_verify.py::test_the_first_fault",
    ),
    Mutant(
        "src/eventstore/stores/encrypted.py",
        "        return msgspec.structs.replace(event, payload=cipher.seal(",
        "        return event or msgspec.structs.replace(event, payload=cipher.seal(",
        "test_privacy.py::test_no_content",
    ),
    Mutant(
        "src/eventstore/stores/ledger.py",
        'connection.exec_driver_sql("PRAGMA secure_delete = ON")',
        'connection.exec_driver_sql("PRAGMA secure_delete = OFF")',
        "test_privacy.py::test_a_forgotten_key_is_gone",
    ),
    Mutant(
        "src/eventstore/stores/ledger.py",
        "if seal(origins) != tombstone.seal:",
        "if not tombstone.seal:",
        "test_retention.py::test_a_session_that_grew",
    ),
    Mutant(
        "src/eventstore/recording/journal.py",
        "            self._map[done : self.acknowledged] = bytes(self.acknowledged - done)\n",
        "",
        "test_privacy.py::test_the_journal",
    ),
    Mutant(
        "src/exporters/otlp/spans.py",
        "[*call.spans, *call.open_spans]",
        "call.spans",
        "test_otlp.py::test_a_call_that_goes_on",
    ),
    Mutant(
        "src/eventstore/codec.py",
        "range(event.version, hook.version)",
        "range(event.version + 1, hook.version)",
        "test_laws.py::test_law_7_old",
    ),
    Mutant(
        "src/eventstore/recording/resync.py",
        "unpack_from(self._data, at)[1]:\n            return None\n        event =",
        "unpack_from(self._data, at)[1] < 0:\n            return None\n        event =",
        "test_journal.py::test_a_journal_damaged",
    ),
    Mutant(
        "src/eventstore/recording/journal.py",
        "while self.end < self.size:",
        "while self.end < 0:",
        "test_journal.py::test_a_sealed_segment",
    ),
    Mutant(
        "src/eventstore/recording/backlog.py",
        "segment.close(remove=segment.acknowledged == segment.end)",
        "segment.close(remove=True)",
        "test_machine.py",
    ),
    Mutant(
        "src/eventstore/recording/backlog.py",
        "            self.dropped += calls\n",
        "",
        "test_journal.py::test_at_its_bound",
    ),
    Mutant(
        "src/projections/reference/spans/turn.py",
        "                    _fill_in(vad, s.rules)",
        "                    pass",
        "test_projections.py::test_each_projection_alone_is_its_part_of_a_real",
    ),
    Mutant(
        "src/projections/reference/handlers/session.py",
        "sorted({str(component) for component in components})",
        "list({str(component) for component in components})",
        "test_determinism.py",
    ),
    Mutant(
        "src/projections/reference/timing.py",
        "return nearest / 1e4",
        "return nearest / 1e3",
        "test_conformance.py",
    ),
    Mutant("src/projections/reference/timing.py", "type(ms) is float and ", "", "test_replay_bytes.py"),
    Mutant(
        "src/projections/reference/spans/lifecycle.py",
        "int((now - start_time) * 1_000_000_000)",
        "round((now - start_time) * 1e9)",
        "test_conformance.py",
    ),
    Mutant(CARRY, "if len(turn.vad_metrics) >= 2:", "if len(turn.vad_metrics) >= 3:", "test_conformance.py"),
    Mutant(CARRY, "turn.vad_metrics += carried.vad", "pass", "test_conformance.py"),
    Mutant(
        DELIVERY,
        "store.ledger.save_cursor(cursor)\n            sent",
        "sent",
        "test_delivery.py::test_all_is_delivered_once",
    ),
    Mutant(
        DELIVERY, "or cursor.digest not in", "and cursor.digest not in", "test_delivery.py::test_a_past_that_changed"
    ),
    Mutant(
        DELIVERY,
        "if self._in_a_row >= MAX_CONSECUTIVE_FAILURES:",
        "if 0:",
        "test_delivery.py::test_a_destination_that_is_down",
    ),
    Mutant(DELIVERY, "retry(to.send, batch)", "to.send(batch)", "test_delivery.py::test_what_may_pass"),
    Mutant(
        "src/exporters/delivery/retry.py",
        "max(requested or 0.0, backoff(state))",
        "backoff(state)",
        "test_delivery.py::test_retry",
    ),
    Mutant("src/exporters/delivery/http.py", "{408, 425, 429}", "{408, 425}", "test_delivery.py::test_what_may_pass"),
    Mutant("src/exporters/delivery/http.py", 'text.replace(secret, "***")', "text", "test_delivery.py::test_a_token"),
    Mutant(SQL, "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH", "test_delivery.py::test_only_one_delivers"),
    Mutant(
        "src/eventstore/stores/postgres/store.py",
        "if driver.execute(_TRY_LOCK",
        "if 0 and driver.execute(_TRY_LOCK",
        "test_delivery.py::test_only_one_delivers",
    ),
    Mutant(
        "src/eventstore/stores/postgres/pipeline.py",
        "        self._flush()\n        try:\n            self._receive()\n        finally:",
        "        self._flush()\n        self._pending.clear()\n        try:\n            pass\n        finally:",
        "test_postgres_pipeline.py::test_a_commit_that_fails",
    ),
    Mutant(
        "src/eventstore/stores/postgres/connection.py",
        'in ("57P", "080")',
        'in ("080",)',
        "test_postgres_pipeline.py::test_a_process_ended",
    ),
    Mutant(
        "src/eventstore/stores/postgres/store.py",
        "wanted[len(found) or 1 :]",
        "wanted[len(found) + 1 :]",
        "test_store_contract.py::test_many_sessions",
    ),
    Mutant(
        "src/eventstore/stores/ledger.py",
        "SET digest = :empty, parked",
        "SET parked",
        "test_delivery.py::test_what_is_forgotten",
    ),
    Mutant(
        "src/exporters/delivery/live.py",
        "if left > 0 and self._finish(to, left):",
        "if left < 0 and self._finish(to, left):",
        "test_delivery.py::test_turns_arrive_while",
    ),
    Mutant(
        "src/exporters/otlp/spans.py",
        "for span in call.spans]",
        "for span in call.spans[::-1]]",
        "test_otlp.py::test_a_call_that_goes_on",
    ),
    Mutant(
        "src/exporters/analytics/destination.py",
        "if own:\n            yield False",
        "if 0:\n            yield False",
        "test_analytics.py::test_the_routing",
    ),
    Mutant(
        "src/exporters/reference/log_queue.py",
        "self._waiting.popleft()\n                self._dropped",
        "self._dropped",
        "test_job_logs.py",
    ),
    Mutant("src/projections/reference/fold.py", "perf_ns, s.wall_ns = clocks(event)", "pass", "test_backdating.py"),
    Mutant("src/projections/reference/payload.py", "    _share(turn)\n", "", "test_laws.py::test_law_3_where"),
    Mutant(
        "src/eventstore/hooks/content.py",
        "| {HAPPENED: number}",
        "| {HAPPENED: number, RAW: lambda raw: raw}",
        "test_backdating.py::test_sealed",
    ),
    Mutant(
        "src/eventstore/hooks/content.py",
        "known[name](item) for name, item in value.items() if name in known",
        "known.get(name, number)(item) for name, item in value.items()",
        "test_privacy.py::test_what_stays_readable",
    ),
    # issue by issue of what must hold under attack: the line that guards it
    Mutant(
        "src/turnlog/cli/common.py",
        "(given and given[0]) or os.environ.get(TURNLOG_DB)",
        "os.environ.get(TURNLOG_DB) or (given and given[0])",
        "test_confirmation.py::test_the_option_beats",
    ),
    Mutant(
        "src/eventstore/recording/resync.py",
        "stop = stop if stop and follower is None else self._end if follower is None else follower",
        "stop = self._end",
        "test_recovery.py",
    ),
    Mutant(
        FILE,
        "            return False\n        self._found",
        "            return True\n        self._found",
        "test_database_file.py::test_a_database_that_is_gone",
    ),
    Mutant(FILE, "found != self.log_id or pages < self._pages", "False", "test_database_file.py::test_a_foreign_file"),
    Mutant(FILE, " or pages < self._pages", "", "test_database_file.py::test_an_older_backup"),
    Mutant(FILE, "os.truncate(self._log, 0)", "pass", "test_database_file.py::test_a_foreign_file"),
    Mutant(
        "src/eventstore/stores/sqlite/watch.py",
        "if self._is_whole(driver) and",
        "if not self._is_whole(driver) and",
        "test_database_file.py::test_vacuum",
    ),
    Mutant(WRITER, "        self.set_aside += kept\n", "        kept = 0\n", "test_recovery.py"),
    Mutant(
        "src/eventstore/stores/rotation.py",
        "            if key.master == new.fingerprint:",
        "            if key.master != new.fingerprint:",
        "test_keys.py",
    ),
    Mutant(FILE, "os.O_CLOEXEC, 0o600))", "os.O_CLOEXEC, 0o644))", "test_database_file.py::test_a_file_is_the_owner"),
    Mutant(
        "src/turnlog/terminal.py",
        "CONTROL.sub(lambda found: _escape(found[0]), str(text))",
        "str(text)",
        "test_terminal.py::test_any_text",
    ),
    Mutant(
        "migrations/versions/0004_append_guard.py",
        "            AND f.link = {LINK}\n",
        "",
        "test_postgres_roles.py",
    ),
    Mutant(
        "src/exporters/web.py",
        "len(hosts) != 1 or hosts[0].lower() not in self._hosts",
        "len(hosts) != 1",
        "test_served.py::test_a_foreign_host",
    ),
    Mutant(
        "src/exporters/delivery/http.py",
        "        if len(raw) > MAX_RESPONSE_BYTES:\n            return None",
        "        if len(raw) > MAX_RESPONSE_BYTES:\n            continue",
        "test_outgoing.py::test_no_answer",
    ),
    Mutant(
        "src/turnlog/recordings.py",
        "found.readline(MAX_LINE_BYTES + 1)",
        "found.readline()",
        "test_admission.py::test_a_bomb",
    ),
    Mutant(
        "src/eventstore/integrity/log.py",
        "if found != [schema.HEAD]:",
        "if not found:",
        "test_tamper.py::test_on_sqlite",
    ),
    Mutant(
        "src/eventstore/recording/recorder.py",
        "stored and not self._writer.backlog.lost[self._source] and not self._failures.failed",
        "stored",
        "test_database_file.py::test_a_database_that_is_gone",
    ),
    Mutant(
        "src/eventstore/recording/backlog.py",
        "for event in frames.events_of(data, *source)]",
        "for event in map(frames.decode, frames.bodies(data)) if (event.session_id, event.origin) == source]",
        "test_live_reads.py::test_a_live_read",
    ),
    Mutant("src/turnlog/finished.py", "if len(self._latest) == CHUNK:", "if False:", "test_live_reads.py::test_only"),
    Mutant(
        "src/projections/explain/sourced.py",
        '"sub", "mul", "truediv", "floordiv"',
        '"sub", "mul", "floordiv"',
        "test_explain.py::test_every_value",
    ),
    Mutant("src/projections/explain/provenance.py", "NEAR = 3", "NEAR = 0", "test_explain.py::test_every_value"),
    Mutant(
        "src/projections/turns/state.py",
        "x.sent, x.sent_at = step.time, step.at",
        "x.sent, x.sent_at = step.time, -1",
        "test_explain.py::test_a_question_without",
    ),
    Mutant(
        "src/projections/explain/sourced.py",
        "*(s for other in others for s in sources_of(other))",
        "*()",
        "test_explain.py::test_a_response_moves",
    ),
    Mutant(
        "src/projections/explain/stretch.py",
        "pickle.dumps(extend(start, events[since:first]))",
        "pickle.dumps(start)",
        "test_explain.py::test_what_if",
    ),
    Mutant(
        "src/projections/explain/stretch.py",
        "    return copy.deepcopy(s, shared)",
        "    return s",
        "test_explain.py::test_what_if",
    ),
    Mutant(
        "src/projections/explain/what_if.py",
        "time(made[to]) < time(event)",
        "False",
        "test_explain.py::test_what_if",
    ),
    Mutant(
        "src/turnlog/viewer/call/delta.py",
        "[name for name in old if name not in new]",
        "[]",
        "test_call_document.py::test_a_delta_turns_one_document_into_the_other",
    ),
    Mutant(
        "src/turnlog/viewer/call/file.py",
        "event if visible is None",
        "event if True",
        "test_call_document.py::test_redacted_has_no_text_and_the_same_figures",
    ),
    Mutant(
        "src/turnlog/viewer/call/file.py",
        "base64.b64encode(gzip.compress(data, mtime=0)).decode()",
        "Markup(data.decode())",
        "test_call_document.py::test_a_script_element_in_a_text_ends_nothing",
    ),
    Mutant(
        "src/turnlog/viewer/call/framework_document.py",
        " or e2e(turn, found) != turn.e2e_latency",
        "",
        "test_call_document.py::test_a_frameworks_latency_whose_parts_do_not_add_up_is_a_list",
    ),
    Mutant(
        "src/projections/reference/timing.py",
        "turn.stt_metrics[-1].stt_latency if",
        "turn.stt_metrics[0].stt_latency if",
        "test_call_document.py::test_the_parts_of_a_frameworks_latency_add_up_to_it",
    ),
    Mutant(ARCHIVE + "read.py", "if last != origin.link:", "if False:", "test_hostile.py::test_verify_names"),
    Mutant(
        ARCHIVE + "read.py",
        "for a, b in pairwise(seqs)) else",
        "for a, b in []) else",
        "test_archive.py::test_an_archive",
    ),
    Mutant(ARCHIVE + "write.py", "if last != found:", "if False:", "test_archive.py::test_a_session_of_the_log"),
    Mutant(
        ARCHIVE + "build.py",
        "if entry.session_id not in task.dropped}",
        "if False}",
        "test_archive.py::test_sessions_that",
    ),
    Mutant(
        ARCHIVE + "place.py",
        "with atomic_write(target) as file:",
        'with target.open("wb") as file:',
        "test_interrupted_build.py",
    ),
    Mutant(
        ARCHIVE + "restore.py",
        "                incoming.add(event)",
        "                pass",
        "test_hostile.py::test_a_changed",
    ),
    Mutant(ARCHIVE + "rows.py", "and row.key == key", "", "test_archive_answers.py::test_rows_are_made_once"),
    Mutant(ARCHIVE + "rows.py", "== both[name].seal]", "!= 0]", "test_archive_answers.py::test_an_erased_session"),
    Mutant(
        "src/turnlog/rebuild/task.py",
        "if made is None or made.stamp != stamp]",
        "if made is None]",
        "test_rebuild.py::test_what_is_there",
    ),
]


def survives(mutant: Mutant, folder: Path) -> bool:
    """Whether the tests pass all the same."""
    target = folder / mutant.file
    source = (HERE / mutant.file).read_text()
    assert mutant.old in source, f"{mutant.file} has no {mutant.old!r} any more"
    target.write_text(source.replace(mutant.old, mutant.new))
    name = mutant.test.partition("::")[2]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        str(mutant.path()),
        "-k",
        name or "test",
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "TURNLOG_KILLS": "4"},
        capture_output=True,
        text=True,
        check=False,
    )
    target.write_text(source)
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:], done.stderr[-2000:])
        raise SystemExit(f"the test could not be run: {mutant.test}")
    return done.returncode == 0


def main() -> int:
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="turnlog-mutants-") as name:
        folder = Path(name)
        for part in ("src", "migrations", "tests", "fixtures", "docs"):
            shutil.copytree(HERE / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "alembic.ini"):
            shutil.copy(HERE / part, folder)
        wanted = [mutant for mutant in MUTANTS if all(word in str(mutant) for word in sys.argv[1:])]
        for mutant in wanted:
            alive = survives(mutant, folder)
            survivors += alive
            shown = mutant.new.strip().partition("\n")[0][:60]
            print(f"{'SURVIVED' if alive else 'caught  '} {mutant.file}: {shown!r} by {mutant.test}", flush=True)
    print(f"{len(wanted) - survivors} of {len(wanted)} broken laws were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
