"""What an adapter recorded, for tests: events with their arguments and times, and the runs and tools they tell of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eventstore import Event, codec
from projections.caller import read
from projections.framework_figures import add_figures
from projections.outputs.turn import Turn


class Call(NamedTuple):
    """One hook call; ``at`` is when it counts, in seconds since the epoch."""

    hook: str
    args: dict[str, Any]
    at: float


@dataclass
class Run:
    """A run as its events tell of it."""

    id: str
    start: float
    status: str = "unfinished"
    first: float | None = None
    usage: list[Any] = field(default_factory=list)
    audio_seconds: float = 0.0


class Recorded:
    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.calls = [Call(event.hook, _args(event), codec.clocks(event)[1] / 1e9) for event in events]

    def turns(self) -> list[Turn]:
        """The caller's, with the framework's own figures laid beside them."""
        reading = read(self.events)
        add_figures(reading, self.events)
        return reading.turns

    def differences(self, within_ms: float) -> set[int]:
        """The turns whose response is not the framework's own figure, or of which only one of the two is known."""
        found = set()
        for turn in self.turns():
            ours, theirs = turn.e2e_latency, turn.framework_e2e
            same = ours == theirs if ours is None or theirs is None else abs(ours - theirs) <= within_ms
            if not same:
                found.add(turn.turn)
        return found

    def of(self, hook: str) -> list[dict[str, Any]]:
        return [call.args for call in self.calls if call.hook == hook]

    def at(self, hook: str) -> list[float]:
        return [call.at for call in self.calls if call.hook == hook]

    def order(self, *hooks: str) -> list[str]:
        """Those hooks as they came."""
        return [call.hook for call in self.calls if call.hook in hooks]

    def framework(self, name: str) -> list[dict[str, Any]]:
        """The arguments of framework events of that name."""
        return [args["arguments"] for args in self.of("framework_event") if args["name"] == name]

    def words(self) -> list[str]:
        """All that the user is known to have said, as it became known: interim and final."""
        text = {"on_stt_complete": "transcript", "set_user_transcript": "transcript"}
        text["emit_user_transcript_transport"] = "text"
        return [call.args[text[call.hook]] for call in self.calls if call.hook in text]

    def runs(self, component: str) -> list[Run]:
        """The runs of ``llm`` or ``tts``; each is named right after its start, and its usage right before that."""
        runs: list[Run] = []
        caused_by: str | None = None
        for hook, args, at in self.calls:
            mine = args.get("component") == component
            by_id = {run.id: run for run in runs}
            if hook == f"on_{component}_start":
                runs.append(Run("", at))
            elif hook == "name_run" and mine:
                assert args["run_id"] not in by_id
                runs[-1].id = args["run_id"]
            elif hook in ("on_llm_first_token", "on_tts_first_byte") and component in hook:
                runs[-1].first = at
            elif hook == "on_llm_complete" and component == "llm":
                runs[-1].status = "done"
            elif hook == "on_tts_complete" and component == "tts":
                by_id[args["run_id"]].status = "done"
            elif hook == "run_ended" and mine:
                by_id[args["run_id"]].status = args["status"]
            elif hook == "name_usage" and mine:
                caused_by = args["run_id"]
            elif hook in ("set_llm_usage", "add_tts_characters") and component in hook:
                usage = args.get("usage") or args["count"]
                (by_id[caused_by] if caused_by else runs[-1]).usage.append(usage)
                caused_by = None
            elif hook == "add_audio_seconds" and mine:
                by_id[args["run_id"]].audio_seconds += args["seconds"]
        return runs

    def tools(self) -> dict[str, list[tuple[str, float]]]:
        """By tool name and number of its call: what became of it, and when."""
        found: dict[str, list[tuple[str, float]]] = {}
        names: dict[str, str] = {}
        for hook, args, at in self.calls:
            if hook == "tool_started":
                names[args["call_id"]] = args["tool_name"]
                assert args["tool_name"] not in found
                found[args["tool_name"]] = [("started", at)]
            elif hook == "tool_progress":
                found[names[args["call_id"]]].append(("progress", at))
            elif hook == "tool_ended":
                found[names[args["call_id"]]].append((args["status"], at))
        return found


def _args(event: Event) -> dict[str, Any]:
    return {name: value for name, value in codec.decode(event).items() if not name.startswith("$")}
