"""What is killed: each operation with the state it starts from, the work of the child, and what must hold after it.

`prepare` is called before each kill, `check` after it, `finish` now and then and at the end: the second run, which must
complete what was interrupted.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from eventstore import Event, Store, codec, recover
from eventstore.integrity.session import verify
from eventstore.recording import frames
from eventstore.recording.journal import Segment, files
from eventstore.recording.recorder import Recorder
from eventstore.stores.encrypted import MasterKey, forget
from eventstore.stores.rotation import rotate
from exporters.delivery.outbox import deliver, due_cursors
from soak.children import Acknowledgements
from soak.figures import Figures
from soak.places import KEY, MARKER, OTHER_KEY, Place, Places
from support.deliveries import QUICK, Turns, arrived, in_order, turns
from support.http_receiver import Answer, Receiver
from turnlog.archive import files as archive
from turnlog.archive.retention import expired_sessions, retire
from turnlog.recordings import events_of, read_recordings

SECRET = MARKER.encode()


def said(session: str, seq: int, origin: str = "o", wall_ns: int = 10**18) -> Event:
    payload = json.dumps({"transcript": f"{MARKER} {seq}"})
    return Event(session, origin, seq, "set_user_transcript", 1, 10**9 + seq, wall_ns + seq, payload)


def numbers(store: Store, session: str) -> dict[str, list[int]]:
    """By origin, the numbers that `said` or a recorder put into its events."""
    found: dict[str, list[int]] = {}
    for event in store.read(session):
        found.setdefault(event.origin, []).append(int(codec.decode(event)["transcript"].rpartition(" ")[2]))
    return found


class Operation:
    """One operation on one place."""

    name: str

    def __init__(self, places: Places, backend: str, chance: Random, figures: Figures) -> None:
        self.places, self.chance, self.figures = places, chance, figures
        self.place = places.new(backend)
        self.store = self.place.open()

    def prepare(self) -> tuple[Any, ...]:
        """Returns the arguments of `work`."""
        raise NotImplementedError

    @staticmethod
    def work(*arguments: Any) -> None:
        """In the child."""
        raise NotImplementedError

    def check(self, acknowledged: list[str]) -> None:
        """Right after the kill."""

    def finish(self) -> None:
        """Run it again to its end, and compare."""

    def close(self) -> None:
        if locks := self.places.locks(self.place):
            self.figures.leak(locks, "advisory locks")
        self.store.close()
        self.places.remove(self.place)

    def verify(self, session: str) -> None:
        for fault in verify(self.store, session):
            self.figures.fail(f"{self.place.backend}: {fault.message}")


# record, recover ------------------------------------------------------------------------------------------------


def record(place: Place, session: str, origin: str, padding: int, acks: Acknowledgements) -> None:
    recorder = Recorder(place.open(), session, origin=origin, journal=place.journal)
    text = MARKER + "x" * padding
    for n in itertools.count():
        recorder.set_user_transcript(f"{text} {n}")
        acks.write(n)
        if n % 20 == 0:
            time.sleep(0.001)  # or most of the time goes into checking what was recorded


class Record(Operation):
    name = "record"
    work = staticmethod(record)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sessions: dict[str, dict[str, int]] = {}
        self._count = itertools.count()

    def prepare(self) -> tuple[Any, ...]:
        n = next(self._count)
        self._at = f"session-{n // 4}", f"origin-{n}"
        return self.place, *self._at, self.chance.choice([0, 0, 100, 20_000])

    def check(self, acknowledged: list[str]) -> None:
        session, origin = self._at
        self.sessions.setdefault(session, {})[origin] = int(acknowledged[-1]) if acknowledged else -1

    def finish(self) -> None:
        recover(self.store, self.place.journal)
        for session, origins in self.sessions.items():
            found = numbers(self.store, session)
            for origin, last in origins.items():
                have = found.get(origin, [])
                if missing := set(range(last + 1)).difference(have):
                    self.figures.lose(len(missing), f"calls of {session} {origin} after {last} were acknowledged")
                if have != list(range(len(have))) or len(have) > last + 2:
                    self.figures.fail(f"{session} {origin} has {len(have)} calls, {last + 1} were made")
            self.verify(session)
        self.sessions.clear()
        _nothing_left(self)


class Recover(Operation):
    name = "recover"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._round, self.sessions = 0, dict[str, int]()

    def prepare(self) -> tuple[Any, ...]:
        if not self.sessions:
            self._round += 1
            for n in range(3):
                name, count = f"crashed-{self._round}-{n}", self.chance.randint(800, 2400)
                segment = Segment(self.place.journal, 1 << 20)
                for seq in range(count):
                    segment.write(frames.encode(said(name, seq)))
                segment.close(remove=False)
                self.sessions[name] = count
        return (self.place,)

    @staticmethod
    def work(place: Place, acks: Acknowledgements) -> None:
        store = place.open()
        recover(store, place.journal)
        acks.write("done")

    def check(self, acknowledged: list[str]) -> None:
        left = Counter(event.session_id for file in files(self.place.journal) for event in file.contents.events)
        stored = {session.session_id: session.events for session in self.store.sessions()}
        for name, count in self.sessions.items():
            have = stored.get(name, 0)
            if have + left[name] < count or (acknowledged and have != count):
                self.figures.lose(count - have, f"calls of {name}: {have} stored, {left[name]} in the journal")

    def finish(self) -> None:
        recover(self.store, self.place.journal)
        for name, count in self.sessions.items():
            have = numbers(self.store, name).get("o", [])
            if have != list(range(count)):
                self.figures.lose(count - len(set(have)), f"calls of {name} after its recovery")
            self.verify(name)
        self.sessions.clear()
        _nothing_left(self)


def _nothing_left(of: Operation) -> None:
    """No journal file, and no content in any file."""
    if left := [path.name for path in of.place.journal.glob("*") if path.suffix not in (".new", ".damaged")]:
        of.figures.leak(len(left), f"journal files {left}")
    if damaged := list(of.place.journal.glob("*.damaged")):  # a call that was cut off, and had not returned
        of.figures.notes = [f"{sum(path.stat().st_size > 0 for path in damaged)} calls cut off, kept as torn"]
        for path in damaged:
            path.unlink()
    if names := of.place.leaks(SECRET):
        of.figures.leak(len(names), f"plaintext in {names}")


# retention, import, migration ----------------------------------------------------------------------------------


class Retention(Operation):
    name = "retention"
    SESSIONS, EVENTS = 24, 40

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._round, self.sessions = 0, list[str]()

    def prepare(self) -> tuple[Any, ...]:
        if not self.sessions:
            self._round += 1
            self.sessions = [f"old-{self._round}-{n}" for n in range(self.SESSIONS)]
            self.store.append(said(name, seq) for name in self.sessions for seq in range(self.EVENTS))
        return (self.place,)

    @staticmethod
    def work(place: Place, acks: Acknowledgements) -> None:
        store = place.open()
        for removal in retire(store, expired_sessions(store, 0), place.archive):
            acks.write(removal.session_id)

    def check(self, acknowledged: list[str]) -> None:
        stored = {session.session_id: session.events for session in self.store.sessions()}
        removed = {removal.session_id: removal for removal in self.store.ledger.tombstones()}
        for name in self.sessions:
            if (name in stored) == (name in removed) or (name in stored and stored[name] != self.EVENTS):
                self.figures.lose(1, f"{name} is neither whole in the log nor removed")
            elif name in acknowledged and name not in removed:
                self.figures.lose(1, f"the tombstone of {name}")
            elif name in removed:
                ((_place, events),) = archive.read_archive(Path(removed[name].archive))
                if len(events) != self.EVENTS:
                    self.figures.lose(1, f"the archive of {name}")

    def finish(self) -> None:
        list(retire(self.store, expired_sessions(self.store, 0), self.place.archive))
        self.check(self.sessions)
        self.store.ledger.scrub()
        if left := list(self.place.archive.glob(".*")):
            self.figures.leak(len(left), f"unfinished archives {[path.name for path in left]}")
            for path in left:
                path.unlink()
        if names := self.place.leaks(SECRET):
            self.figures.leak(len(names), f"plaintext in {names}")
        self.sessions = []


class Import(Operation):
    name = "import"
    SESSIONS, CALLS = 30, 80

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._round, self._recording = 0, self.place.folder.with_suffix(".jsonl")

    def prepare(self) -> tuple[Any, ...]:
        if self._recording.exists():
            return self.place, self._recording
        self._round += 1
        call = {"target": "collector", "hook": "set_user_transcript", "perf_ns": 1, "wall_ns": 10**18}
        with self._recording.open("w") as file:
            for n in range(self.SESSIONS):
                calls = [call | {"args": {"transcript": f"{MARKER} {seq}"}} for seq in range(self.CALLS)]
                print(json.dumps({"name": f"imported-{self._round}-{n}", "calls": calls}), file=file)
        return self.place, self._recording

    @staticmethod
    def work(place: Place, recording: Path, acks: Acknowledgements) -> None:
        store = place.open()
        for where, each in read_recordings(recording):
            store.append(events_of(where, each))
            acks.write(each.name)

    def check(self, acknowledged: list[str]) -> None:
        stored = {session.session_id: session.events for session in self.store.sessions()}
        for name in acknowledged:
            if name not in stored:
                self.figures.lose(1, f"{name}, which was imported")
        for name, events in stored.items():
            if events != self.CALLS:
                self.figures.fail(f"half of {name} is imported: {events} calls")

    def finish(self) -> None:
        if not self._recording.exists():
            return
        for where, each in read_recordings(self._recording):
            self.store.append(events_of(where, each))
            if numbers(self.store, each.name) != {"import": list(range(self.CALLS))}:
                self.figures.lose(1, f"{each.name} after the second import")
            self.verify(each.name)
        self._recording.unlink()
        if names := self.place.leaks(SECRET):
            self.figures.leak(len(names), f"plaintext in {names}")


# forget, rotation ----------------------------------------------------------------------------------------------


class Forget(Operation):
    name = "forget"
    SESSIONS = 24

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._round, self.keys, self.gone = 0, dict[str, bytes](), set[str]()

    def prepare(self) -> tuple[Any, ...]:
        if not self.keys:
            self._round += 1
            names = [f"private-{self._round}-{n}" for n in range(self.SESSIONS)]
            self.store.append(said(name, seq) for name in names for seq in range(3))
            self.keys = {name: key.wrapped for name in names if (key := self.store.ledger.key(name)) and key.wrapped}
        return self.place, sorted(self.keys)

    @staticmethod
    def work(place: Place, names: list[str], acks: Acknowledgements) -> None:
        store = place.open()
        for name in names:
            forget(store, name)
            acks.write(name)

    def check(self, acknowledged: list[str]) -> None:
        for name in self.keys:
            found = [MARKER in event.payload for event in self.store.read(name)]
            key = self.store.ledger.key(name)
            if found not in ([True] * 3, [False] * 3) or found[0] != (key is not None and key.wrapped is not None):
                self.figures.fail(f"half of {name} is forgotten")
            if name in acknowledged and found[0]:
                self.figures.leak(1, f"the content of {name}, which was forgotten")
        self._search(acknowledged)

    def finish(self) -> None:
        for name in self.keys:
            forget(self.store, name)
        self.check(sorted(self.keys))
        for name in list(self.keys)[:3]:
            self.verify(name)
        self.keys.clear()

    def _search(self, names: list[str]) -> None:
        """For keys that were destroyed; a Postgres server keeps its own files."""
        if names and self.place.backend == "sqlite" and (found := self.place.leaks(*(self.keys[n] for n in names))):
            self.figures.leak(len(found), f"destroyed keys in {found}")


class Rotation(Operation):
    name = "key rotation"
    SESSIONS = 40

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.names = [f"session-{n:02}" for n in range(self.SESSIONS)]
        self.store.append(said(name, 0) for name in self.names)
        self.store.close()
        self.store = self.place.open(f"{KEY},{OTHER_KEY}")

    def prepare(self) -> tuple[Any, ...]:
        return (self.place,)

    @staticmethod
    def work(place: Place, acks: Acknowledgements) -> None:
        store = place.open()
        for old, new in itertools.cycle([(KEY, OTHER_KEY), (OTHER_KEY, KEY)]):
            rotate(store.ledger, [MasterKey(old)], MasterKey(new), batch=4)
            acks.write("turned")

    def check(self, acknowledged: list[str]) -> None:
        masters = [MasterKey(KEY), MasterKey(OTHER_KEY)]
        for name in self.names:
            key = self.store.ledger.key(name)
            fits = [master for master in masters if key and key.wrapped and master.fingerprint == key.master]
            if len(fits) != 1 or key is None or key.wrapped is None:
                self.figures.lose(1, f"the key of {name}")
            elif len(fits[0].unwrap(name, key.wrapped)) != 32:
                self.figures.lose(1, f"the key of {name} under the master key that it names")

    def finish(self) -> None:
        keys, other = self.store.ledger.keys(after=""), MasterKey(OTHER_KEY).fingerprint
        before = [key.wrapped for key in keys if key.wrapped and key.master == other]
        done = rotate(self.store.ledger, [MasterKey(OTHER_KEY)], MasterKey(KEY))
        if done.left:
            self.figures.fail(f"sessions left by the second rotation: {done.left}")
        for name in self.names:
            if numbers(self.store, name) != {"o": [0]}:
                self.figures.lose(1, f"the content of {name}")
        if self.place.backend == "sqlite" and (found := self.place.leaks(SECRET, *before)):
            self.figures.leak(len(found), f"content, or keys under the old master key, in {found}")


# deliver -------------------------------------------------------------------------------------------------------


class Deliver(Operation):
    name = "deliver"
    SESSIONS, TURNS, WORKERS = 12, 12, 4

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._endpoint = Receiver()
        ways: list[Answer] = [500, 503, 429, "reset", "cut", "garbage"]
        chance = Random(self.chance.random())
        self._endpoint.behave = lambda _request: chance.choice(ways) if chance.random() < 0.1 else 200
        self._endpoint.__enter__()
        self._round, self.sessions, self.kills = 0, list[str](), 0

    def prepare(self) -> tuple[Any, ...]:
        if not self.sessions:
            self._round, self.kills = self._round + 1, 0
            self.sessions = [f"call-{self._round}-{n}" for n in range(self.SESSIONS)]
            for name in self.sessions:
                self.store.append(turns(name, self.TURNS))
        return self.place, self._endpoint.url

    @staticmethod
    def work(place: Place, url: str, acks: Acknowledgements) -> None:
        store, to = place.open(), Turns(url)
        with _alone(store, to.name):
            for outcome in deliver(store, to, due_cursors(store, to.name), patience=QUICK, workers=Deliver.WORKERS):
                acks.write(outcome.session_id if outcome.left is None and outcome.parked is None else "left")

    def check(self, acknowledged: list[str]) -> None:
        self.kills += 1
        found = arrived(self._endpoint)
        for name in acknowledged:
            if name != "left" and set(found.get(name, [])) != set(range(self.TURNS)):
                self.figures.lose(1, f"turns of {name}, which was delivered")

    def finish(self) -> None:
        to = Turns(self._endpoint.url)
        with _alone(self.store, to.name):
            for outcome in deliver(
                self.store, to, due_cursors(self.store, to.name), patience=QUICK, workers=self.WORKERS
            ):
                if outcome.left or outcome.parked:
                    self.figures.fail(f"not delivered by the second run: {outcome}")
        to.close()
        found = arrived(self._endpoint)
        for name in self.sessions:
            if set(found.get(name, [])) != set(range(self.TURNS)) or not in_order(found[name]):
                self.figures.lose(1, f"turns of {name}: {found.get(name)}")
        repeats = sum(n - 1 for name in self.sessions for n in Counter(found.get(name, [])).values())
        if repeats > self.kills * self.WORKERS:
            self.figures.fail(f"{repeats} repeats after {self.kills} kills")
        self.sessions = []

    def close(self) -> None:
        self._endpoint.__exit__()
        super().close()


def _alone(store: Store, name: str) -> Any:
    """The exporter's lock; a server takes a moment to see that who held it is dead."""
    from contextlib import ExitStack

    from eventstore.errors import StoreUnavailable

    end = time.monotonic() + 10
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(store.ledger.exclusive_delivery(name))
                return stack.pop_all()
            except StoreUnavailable:
                if time.monotonic() > end:
                    raise
        time.sleep(0.01)
