"""Every reader of files and bytes on damaged ones: an error that says so, never a crash, never half of something."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from eventstore import Event, codec, recover
from eventstore.errors import NewerEvent, TurnlogError, UnknownHook
from eventstore.recording import frames
from eventstore.recording.journal import EMPTY, SUFFIX, Segment
from eventstore.stores.memory import MemoryStore
from eventstore.stores.records import Tombstone
from exporters.files.jsonl import session_heading
from projections import replay
from projections.reference.rules import VIDEOSDK_1_0
from soak.figures import Advance, Figures
from support.program import FIXTURES
from turnlog.archive import files as archive
from turnlog.archive import log_seals, seals
from turnlog.archive.importing import batches
from turnlog.compare import digest_files as digests
from turnlog.recordings import BadRecording, events_of, read_recordings
from turnlog.stats import budget

ROUND = 100
"""Examples under one seed."""

# what is damaged ------------------------------------------------------------------------------------------------

DEMO = gzip.decompress((FIXTURES / "demo.jsonl.gz").read_bytes())
SMALL = b"".join(
    json.dumps({"name": name, "calls": json.loads(line)["calls"][:12]}).encode() + b"\n"
    for name, line in zip("ab", DEMO.splitlines() * 2, strict=False)
)
BUDGET = b"""budgets = ["e2e.p95 < 1200 ms", "interruptions.rate <= 10 %", "turns >= 1"]
[regression]
metrics = ["e2e"]
significance = 0.01
minimum_change = "5 %"
"""
HOSTILE = st.sampled_from(
    [None, True, -1, 2**63, -(2**63) - 1, 10**400, 1e308, float("nan"), "", "\0", "\ud800", "x" * 300, [], {}, [[]] * 9]
) | st.recursive(
    st.integers() | st.text(max_size=6) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
NESTED = [b"[" * 5000, b'{"a":' * 5000, b'{"$at":' * 5000]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """With bytes changed, cut out, doubled, or put in."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, max(0, len(made) - 1))), draw(st.integers(0, 40))
        made[at : at + size] = draw(st.binary(max_size=40) | st.just(bytes(made[at : at + size]) * 2))
    return bytes(made)


@st.composite
def altered(draw: st.DrawFn, lines: bytes) -> bytes:
    """Lines of JSON with values in them replaced, removed, or given another name; whole lines moved or left out."""
    made = [json.loads(line) for line in lines.splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(made) - 1))
        node = made[at] = copy.deepcopy(made[at])
        while isinstance(node, dict | list) and node:
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            inner = node[key]  # type: ignore[index]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
                node = inner
                continue
            if draw(st.booleans()) or isinstance(node, list):
                node[key] = draw(HOSTILE)  # type: ignore[index]
            else:
                del node[key]
                if draw(st.booleans()):
                    node[draw(st.text(max_size=5))] = inner
            break
    order = draw(st.permutations(made)) if draw(st.integers(0, 5)) == 0 else made
    return b"".join(json.dumps(line).encode() + b"\n" for line in order)


def files_of(data: bytes) -> st.SearchStrategy[bytes]:
    """Files of one JSON document, damaged, or with something that is nested too deeply at the end of it."""
    nested = st.sampled_from(NESTED).map(lambda more: data.rstrip(b"}\n") + b',"x":' + more)
    return st.one_of(st.binary(max_size=60), damaged(data), altered(data), nested)


def files_like(data: bytes) -> st.SearchStrategy[bytes]:
    """Files of lines, zipped or not, before or after they were damaged."""
    text = damaged(data) | altered(data)
    zipped = text.map(lambda made: gzip.compress(made, 1, mtime=0))
    return st.one_of(
        st.binary(max_size=200), text, zipped, damaged(gzip.compress(data, mtime=0)), st.sampled_from(NESTED)
    )


# what reads it --------------------------------------------------------------------------------------------------


def _frame(seq: int) -> bytes:
    return frames.encode(Event("s", "o", seq, "set_llm_input", 1, seq, seq, f'{{"text":"hello {seq}"}}'))


FRAMES = [_frame(n) for n in range(8)]
WHOLE = {frames.decode(frames.body_of(frame)) for frame in FRAMES}


def read_journal(data: bytes, folder: Path) -> None:
    """Whatever comes between whole frames, they are recovered, and nothing that was not recorded."""
    segment = Segment(folder, 1 << 16)
    segment.write(FRAMES[0] + FRAMES[1] + data[: 1 << 15] + FRAMES[2])
    segment.close(remove=False)
    store = MemoryStore()
    recover(store, folder)
    found = set(store.read("s"))
    made = found - WHOLE
    assert not made, f"events that were not recorded: {made}"
    assert {0, 1} <= {event.seq for event in found}, found


def read_journal_file(data: bytes, folder: Path) -> None:
    """A file of any bytes harms no other."""
    (folder / f"x{SUFFIX}").write_bytes(data)
    segment = Segment(folder, 1 << 16)
    segment.write(FRAMES[7])
    segment.close(remove=False)
    store = MemoryStore()
    recover(store, folder)
    assert 7 in {event.seq for event in store.read("s")}


def read_codec(data: bytes, _folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    for hook, version in (("set_llm_input", 1), ("add_tts_characters", 1), (text[:20], 1), ("set_llm_input", 99)):
        event = Event("s", "o", 0, hook, version, 1, 1, text)
        try:
            codec.decode(event)
            codec.clocks(event)
        except (UnknownHook, NewerEvent, ValueError) as error:
            assert "\n" not in str(error)
        assert frames.decode(frames.body_of(frames.encode(event))) == (event if text else _empty(event))


def _empty(event: Event) -> Event:
    """No payload is an empty one."""
    return Event(*(getattr(event, name) for name in event.__struct_fields__[:-1]), "{}")


def read_import(data: bytes, folder: Path) -> None:
    """As `turnlog import` reads a file: all of it, or one line that says what is wrong."""
    path = folder / "calls.jsonl"
    path.write_bytes(data)
    store = MemoryStore()
    identities: set[object] = set()
    try:
        for batch in batches(path, lambda path: path.open("rb")):
            identities.update(event.identity for event in batch.events)
        for batch in batches(path, lambda path: path.open("rb")):
            store.append(batch.events)
    except TurnlogError as error:
        assert "\n" not in str(error)
        assert not isinstance(error, BadRecording) or str(path) in str(error)
        identities.clear()
    assert sum(session.events for session in store.sessions()) == len(identities)
    for session in store.sessions():
        with contextlib.suppress(TurnlogError):
            replay(store.read(session.session_id))


def _archived() -> tuple[bytes, dict[str, list[Event]]]:
    store = MemoryStore()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "calls.jsonl").write_bytes(SMALL)
        for place, recording in read_recordings(Path(folder) / "calls.jsonl"):
            store.append(events_of(place, recording))
        made = b"".join(
            gzip.decompress(archive.write_archive(store, session_heading(store, name), Path(folder)).read_bytes())
            for name in "ab"
        )
    return made, {name: [event for _o, chain in store.chains(name) for event, *_ in chain] for name in "ab"}


ARCHIVE, ARCHIVED = _archived()


def read_archive(data: bytes, folder: Path) -> None:
    """What is read is, to the byte, what was archived."""
    path = folder / "a.jsonl.gz"
    path.write_bytes(data)
    try:
        archive.is_archive(path)
        for _place, events in archive.read_archive(path):
            for event in events:
                assert event in ARCHIVED[event.session_id], event
    except TurnlogError as error:
        assert "\n" not in str(error)


def _digests() -> bytes:
    lines = [digests.digest_line(digests.digest_heading(VIDEOSDK_1_0))]
    lines += [
        digests.digest_line(digests.session_digest(name, events, VIDEOSDK_1_0)) for name, events in ARCHIVED.items()
    ]
    return b"".join(lines)


def read_digests(data: bytes, folder: Path) -> None:
    path = folder / "digests.jsonl"
    path.write_bytes(data)
    try:
        _heading, sessions = digests.load_digests(path)
        for session in sessions:
            digests.digested_events(ARCHIVED["a"], session)
    except TurnlogError as error:
        assert "\n" not in str(error)


def read_budget(data: bytes, folder: Path) -> None:
    path = folder / "budget.toml"
    path.write_bytes(data)
    with contextlib.suppress(TurnlogError):
        budget.load_budget(path)


def _seal() -> bytes:
    store = MemoryStore()
    store.append(ARCHIVED["a"])
    return seals.seal_session(store, "a").model_dump_json().encode() + b"\n"


def _log_seal() -> bytes:
    store, file = MemoryStore(), io.BytesIO()
    store.append(event for events in ARCHIVED.values() for event in events)
    store.ledger.remove(_removal(store, "b"))
    log_seals.write_log_seal(log_seals.seal_log(store), file)
    return b" ".join(file.getvalue().splitlines()) + b"\n"


def _removal(store: MemoryStore, name: str) -> Tombstone:
    head = session_heading(store, name)
    return Tombstone(name, head.events, 1, 2, head.seal, "", 3)


def read_seal(data: bytes, folder: Path) -> None:
    """Of a session or of a log."""
    (folder / "seal").write_bytes(data)
    try:
        log_seals.load_seal(folder / "seal")
    except TurnlogError as error:
        assert "\n" not in str(error)


# running --------------------------------------------------------------------------------------------------------


class Reader(NamedTuple):
    name: str
    read: Callable[[bytes, Path], None]
    """Raises anything but what it may if the reader fails."""
    data: st.SearchStrategy[bytes]


def _readers() -> list[Reader]:
    many = b"".join(FRAMES[3:7])
    cut = st.integers(0, len(FRAMES[3]) - 1).map(lambda at: FRAMES[3][:at])
    nested = st.sampled_from(NESTED)
    arguments = altered(b'{"text":"a","count":1,"$at":3}')
    any_json = HOSTILE.map(lambda value: json.dumps(value).encode())
    return [
        Reader("journal", read_journal, st.binary(max_size=400) | damaged(many) | cut),
        Reader("journal file", read_journal_file, st.binary(max_size=300) | damaged(EMPTY + many)),
        Reader("codec", read_codec, st.binary(max_size=60) | any_json | nested | arguments),
        Reader("import", read_import, files_like(SMALL)),
        Reader("archive", read_archive, files_like(ARCHIVE)),
        Reader("digest", read_digests, files_like(_digests())),
        Reader("budget", read_budget, st.binary(max_size=60) | damaged(BUDGET) | _budgets()),
        Reader("seal", read_seal, files_of(_seal())),
        Reader("log seal", read_seal, files_of(_log_seal())),
    ]


def _budgets() -> st.SearchStrategy[bytes]:
    """Files whose values are of other types, and budgets that look like one."""
    word = st.sampled_from(["e2e.p95", "e2e", "turns", "x.y", "", "p95"]) | st.text(max_size=4)
    number = st.integers().map(str) | st.floats().map(str) | st.just("9" * 400)
    parts = st.tuples(
        word, st.sampled_from(["<", "<=", "==", "=", ">>"]), number, st.sampled_from(["ms", "s", "%", ""])
    )
    limits = parts.map(" ".join).map(json.dumps)
    value = st.one_of(limits, st.integers().map(str), st.just("{}"), st.just("nan"), st.just("[[]]"))
    names = st.sampled_from(["budgets", "regression", "regression.metrics", "regression.significance", "x"])
    lines = st.lists(st.tuples(names, st.lists(value, max_size=3).map(lambda found: f"[{', '.join(found)}]") | value))
    return lines.map(lambda found: "".join(f"{name} = {value}\n" for name, value in found).encode("utf-8", "replace"))


def fuzz(seconds: float, seed: int, advance: Advance) -> list[Figures]:
    """Each reader in turn, a round at a time, until the time is up."""
    readers = _readers()
    rows = {reader.name: Figures(f"fuzz: {reader.name}", "inputs") for reader in readers}
    spent = dict.fromkeys(rows, 0.0)
    end, number = time.monotonic() + seconds, 0
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", HypothesisWarning)
        while time.monotonic() < end:
            for reader in readers:
                if number and time.monotonic() > end:
                    break
                began = time.monotonic()
                _round(reader, rows[reader.name], seed + number, Path(folder), end)
                took = time.monotonic() - began
                spent[reader.name] += took
                advance(took)
            number += 1
    for name, row in rows.items():
        row.notes.append(f"{spent[name]:.0f} s")
    return list(rows.values())


def _round(reader: Reader, figures: Figures, seed: int, root: Path, end: float) -> None:
    examples = ROUND if end - time.monotonic() > 5 else 5

    @seeded(seed)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(reader.data)
    def one(data: bytes) -> None:
        figures.tried += 1
        with tempfile.TemporaryDirectory(dir=root) as folder:
            reader.read(data, Path(folder))
        figures.survived += 1

    try:
        one()
    except Exception as error:
        for each in error.exceptions if isinstance(error, ExceptionGroup) else [error]:
            notes = " ".join(getattr(each, "__notes__", [])).replace("\n", " ")
            figures.fail(f"{type(each).__name__}: {each} {notes}"[:1000])
