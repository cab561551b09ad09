"""A call with a VideoSDK agent, without network or sound: a greeting, two turns, a barge-in and a tool call.

The framework is real; its providers are scripted and its meeting is local.
"""

# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
# The framework is not installed where the types are checked.

from __future__ import annotations

import asyncio
from typing import Any

from videosdk.agents import Agent
from videosdk.agents.pipeline import EOUConfig, InterruptConfig
from videosdk.agents.utils import function_tool

from eventstore import Store
from turnlog.adapters import videosdk
from turnlog.adapters.videosdk.demo.providers import (
    Answer,
    EnergyVAD,
    ScriptedEOU,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
)
from turnlog.adapters.videosdk.demo.room import Room, offline

POLICY = (
    "You can return any item within thirty days. It must be unused and in its original packaging. "
    "Once we have it, we refund you within five days. Shipping is not refunded."
)


class DemoAgent(Agent):
    """Greets the caller and looks up orders."""

    def __init__(self, greeting: str = "Hello, how can I help?", **options: Any) -> None:
        super().__init__(instructions="You answer questions about orders.", **options)
        self._greeting = greeting

    async def on_enter(self) -> None:
        if self._greeting:
            await self.session.say(self._greeting)

    async def on_exit(self) -> None:
        """Do nothing."""

    @function_tool
    async def get_order_status(self, order_id: str) -> dict[str, str]:
        """Return the status of an order."""
        await asyncio.sleep(0.1)
        return {"order_id": order_id, "status": "shipped"}


def pipeline(room: Room, answers: list[Answer | str], **other: Any) -> dict[str, Any]:
    """The parts of a cascading pipeline with short waits; ``other`` replaces parts, None omits one."""
    parts = {
        "stt": ScriptedSTT(room.microphone),
        "llm": ScriptedLLM(answers),
        "tts": ScriptedTTS(),
        "vad": EnergyVAD(),
        "turn_detector": ScriptedEOU(),
        "eou_config": EOUConfig(min_max_speech_wait_timeout=[0.1, 0.2]),
        "interrupt_config": InterruptConfig(interrupt_min_duration=0.2),
    }
    return {name: part for name, part in (parts | other).items() if part is not None}


async def run(store: Store, session_id: str) -> None:
    """Make the call and record it in ``store`` as ``session_id``."""
    with offline(), videosdk.install(store, session_id=lambda: session_id):
        async with Room() as room:
            answers: list[Answer | str] = [
                "It arrives on Tuesday.",
                Answer(tool=("get_order_status", {"order_id": "A17"})),
                "Order A17 has shipped.",
                POLICY,
                "Of course, thirty days.",
            ]
            await room.start(DemoAgent(), **pipeline(room, answers))
            await room.wait_for_answer()
            await room.ask("Hi, where is my order?")
            await room.ask("And order A seventeen?")
            await room.say("What is your return policy?")
            await room.until(room.agent_speaks)
            await asyncio.sleep(0.5)
            await room.ask("Stop, the short version please.")
