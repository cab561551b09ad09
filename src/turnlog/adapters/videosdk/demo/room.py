"""A local meeting with a caller, in place of VideoSDK's servers, around a real agent."""

# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
# The framework is not installed where the types are checked.

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import videosdk.agents.room.room as framework_room
from videosdk.agents import Agent, AgentSession, JobContext, Pipeline, RoomOptions
from videosdk.agents import job as framework_job
from videosdk.agents.metrics.analytics import AnalyticsClient
from videosdk.agents.utils import AgentState, UserState

from turnlog.adapters.videosdk.demo.providers import Microphone


class _Participant:
    def __init__(self, participant_id: str, name: str) -> None:
        self.id, self.display_name = participant_id, name
        self.meta_data: dict[str, Any] = {}
        self.streams: dict[str, Any] = {}
        self.listeners: list[Any] = []

    def add_event_listener(self, listener: Any) -> None:
        self.listeners.append(listener)


class _PubSub:
    async def publish(self, config: Any) -> None:
        """Discard the message: there are no subscribers."""

    async def subscribe(self, config: Any) -> list[Any]:
        return []


class _Meeting:
    """The part of a ``videosdk`` meeting that the framework uses."""

    def __init__(self, **config: Any) -> None:
        self.session_id = f"session-{uuid.uuid4().hex[:8]}"
        self.participant_id = config.get("participant_id") or "agent"
        self.local_participant = _Participant(self.participant_id, config["name"])
        self.participants: dict[str, Any] = {}
        self.pubsub = _PubSub()
        self.handlers: list[Any] = []

    def add_event_listener(self, handler: Any) -> None:
        self.handlers.append(handler)

    def get_attributes(self) -> dict[str, Any]:
        return {"traces": {"enabled": False}, "observability": ""}

    async def async_join(self) -> None:
        for handler in self.handlers:
            handler.on_meeting_joined({"joined": True})

    def leave(self) -> None:
        for handler in self.handlers:
            handler.on_meeting_left({})


@contextlib.contextmanager
def offline() -> Iterator[list[dict[str, Any]]]:
    """Replace meetings by `_Meeting`, and posts to VideoSDK by appending to the list it yields."""
    posted: list[dict[str, Any]] = []

    async def post(_client: Any, interaction: dict[str, Any]) -> None:
        posted.append(interaction)

    meetings, send = framework_room.VideoSDK, AnalyticsClient.send_interaction_analytics
    framework_room.VideoSDK = SimpleNamespace(init_meeting=_Meeting)
    AnalyticsClient.send_interaction_analytics = post
    try:
        yield posted
    finally:
        framework_room.VideoSDK, AnalyticsClient.send_interaction_analytics = meetings, send


class Room:
    """One call: an agent in a job of its own, and a caller with a microphone.

    ``async with Room() as room: await room.start(agent, stt=…, …)``; on leaving it the caller hangs up.
    """

    def __init__(self) -> None:
        self.microphone = Microphone()
        self._caller = _Participant("caller", "caller")
        self._tasks: list[asyncio.Task[None]] = []
        """The job and the playback of its audio."""

    async def __aenter__(self) -> Room:
        options = RoomOptions(
            room_id="demo-room", name="Demo Agent", auth_token="offline", playground=False, session_timeout_seconds=0
        )
        self.job = JobContext(room_options=options)
        self._undo: list[Callable[[], Any]] = []
        token = framework_job._set_current_job_context(self.job)
        self._undo.append(lambda: framework_job._reset_current_job_context(token))
        if hasattr(framework_job, "_enter_session_scope"):  # newer releases have a collector for each session
            scope = framework_job._enter_session_scope()
            self._undo.append(lambda: framework_job._exit_session_scope(scope))
        return self

    async def start(self, agent: Agent, **pipeline: Any) -> None:
        """Start the agent, then let the caller join."""
        self.session = AgentSession(agent=agent, pipeline=Pipeline(**pipeline))
        job = self.job.run_until_shutdown(session=self.session, wait_for_participant=True)
        self._tasks.append(asyncio.create_task(job))
        await self.until(lambda: self.job.room is not None and self.job.room._meeting_joined_data)
        self._track = self.job.room.audio_track
        self._tasks.append(asyncio.create_task(self._play()))
        meeting = self.job.room.meeting
        meeting.participants[self._caller.id] = self._caller
        for handler in list(meeting.handlers):
            handler.on_participant_joined(self._caller)
        stream = SimpleNamespace(id="microphone", kind="audio", track=self.microphone)
        for listener in self._caller.listeners:
            listener.on_stream_enabled(stream)
        await self.until(lambda: self.session.agent_state not in (AgentState.STARTING, None))

    async def say(self, text: str, seconds: float | None = None) -> None:
        """Let the caller speak; return at the end of the speech."""
        await asyncio.sleep(self.microphone.say(text, seconds))

    async def ask(self, text: str) -> None:
        """Let the caller speak, and wait for the whole answer."""
        await self.say(text)
        await self.wait_for_answer()

    async def wait_for_answer(self) -> None:
        """Wait until the agent has started and finished to speak."""
        await self.until(self.agent_speaks)
        await self.until(self.agent_is_done)

    def agent_speaks(self) -> bool:
        return bool(self.session.agent_state is AgentState.SPEAKING)

    def agent_is_done(self) -> bool:
        """True after the playback, too: until its end, the framework's user state is LISTENING."""
        return bool(self.session.agent_state is AgentState.IDLE and self.session.user_state is UserState.IDLE)

    async def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> None:
        """Poll until the condition is true. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        """Hang up as the caller, which ends the job."""
        if self.job.room is not None and self.job.room.meeting is not None:
            meeting = self.job.room.meeting
            meeting.participants.pop(self._caller.id, None)
            for handler in list(meeting.handlers):
                handler.on_participant_left(self._caller)
        if self._tasks:
            await asyncio.wait_for(self._tasks[0], 15)
        for task in self._tasks:
            task.cancel()
        while self._undo:
            self._undo.pop()()

    async def _play(self) -> None:
        """Pull the agent's audio in real time, as a WebRTC sender does."""
        with contextlib.suppress(Exception):  # the track ends with the call
            while True:
                await self._track.recv()
