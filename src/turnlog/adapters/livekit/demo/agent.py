"""A scripted LiveKit agent, recorded: a greeting, two ordinary turns, a tool call and a barge-in, in eight seconds."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import (  # type: ignore[import-not-found, unused-ignore]
    Agent,
    AgentSession,
    function_tool,
)

from eventstore import Store
from turnlog.adapters.livekit.adapter import attach
from turnlog.adapters.livekit.demo.parts import (
    Caller,
    LoudnessVAD,
    Loudspeaker,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
)

SCRIPT = (
    Reply("open on Sunday", "We are, from ten to four."),
    Reply("order A17", tool=("order_status", {"order_id": "A17"})),
    Reply("A17 has shipped", "It has shipped."),
    Reply("return policy", "You can return any item within thirty days. It must be unused and in its box."),
    Reply("short", "Thirty days."),
)


class ShopAgent(Agent):  # type: ignore[misc, unused-ignore]
    """Greets the caller and looks up orders."""

    def __init__(self) -> None:
        super().__init__(instructions="You answer the phone of a shop.")

    async def on_enter(self) -> None:
        self.session.say("Hello, how can I help?")

    @function_tool  # type: ignore[untyped-decorator, unused-ignore]
    async def order_status(self, order_id: str) -> str:
        """Return the status of an order."""
        await asyncio.sleep(0.2)
        return f"{order_id} has shipped"


def new_session(caller: Caller, *, patience: float = 0.3, **changed: Any) -> Any:
    """An `AgentSession` of scripted parts for ``caller``; ``changed`` replaces parts or options.

    ``patience``: seconds of silence that end the caller's turn.
    """
    options: dict[str, Any] = {
        "stt": ScriptedSTT(caller),
        "llm": ScriptedLLM(*SCRIPT),
        "tts": ScriptedTTS(),
        "vad": LoudnessVAD(),
        "turn_handling": {
            "turn_detection": "vad",
            "endpointing": {"min_delay": patience, "max_delay": max(1.0, patience)},
            "interruption": {"mode": "vad", "min_duration": 0.2, "false_interruption_timeout": 0.4},
        },
        "aec_warmup_duration": None,
    }
    session: Any = AgentSession(**options | changed)
    session.input.audio, session.output.audio = caller, Loudspeaker()
    return session


async def wait_for_state(session: Any, state: str) -> None:
    """Wait until the agent is in ``state``."""
    reached = asyncio.Event()

    def changed(event: Any) -> None:
        if event.new_state == state:
            reached.set()

    session.on("agent_state_changed", changed)
    try:
        if session.agent_state != state:
            await reached.wait()
    finally:
        session.off("agent_state_changed", changed)


async def wait_for_answer(session: Any) -> None:
    """Wait until the agent has spoken and listens again."""
    await wait_for_state(session, "speaking")
    await wait_for_state(session, "listening")


async def run(store: Store, session_id: str) -> None:
    """Make the call and record it in ``store`` as ``session_id``."""
    caller = Caller()
    session = new_session(caller)
    adapter = attach(session, store, session_id=session_id)
    await session.start(ShopAgent(), record=False)
    await wait_for_answer(session)
    for question in ("Are you open on Sunday?", "Where is my order A17?"):
        await caller.say(question)
        await wait_for_answer(session)
    await caller.say("What is your return policy?")
    await wait_for_state(session, "speaking")
    await asyncio.sleep(0.5)
    await caller.say("Make it short please.", 0.6)
    await wait_for_answer(session)
    await session.aclose()
    await asyncio.to_thread(adapter.close)
