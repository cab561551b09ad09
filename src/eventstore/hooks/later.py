"""The hooks that the reference got after 1.0.2. The log keeps them; what they mean is up to the rule set.

Under ``videosdk-1.0`` none of them changes anything. Arguments that older hooks got later stand in `collector_hooks`,
marked `later`; without them an event is as it was before, so the schema version of those hooks stays 1.
"""

from __future__ import annotations

from typing import Literal

from eventstore.hooks.declare import Record


class LaterHooks:
    _record: Record

    # 1.0.11 ----------------------------------------------------------------------------------------------------

    def on_wait_for_additional_speech_complete(self, actual_duration: float) -> None:
        """The wait is over, or was cut short by more speech, after ``actual_duration`` seconds."""
        self._record("on_wait_for_additional_speech_complete", {"actual_duration": actual_duration})

    def emit_user_transcript_transport(
        self, text: str, type: Literal["interim", "final"], utterance_ts: int | None = None
    ) -> None:
        """What the user said so far, for clients; ``utterance_ts`` (1.0.30) names the utterance it belongs to."""
        args = {"text": text, "type": type, "utterance_ts": utterance_ts}
        self._record("emit_user_transcript_transport", args)

    def emit_agent_transcript_transport(self, text: str, type: Literal["interim", "final"]) -> None:
        """What the agent said so far, for clients."""
        self._record("emit_agent_transcript_transport", {"text": text, "type": type})

    # 1.0.27 ----------------------------------------------------------------------------------------------------

    def set_local_vad_user_speech(self, owns: bool) -> None:
        """Whether a local VAD stamps the user's speech, so that a realtime provider's own stamps do not count."""
        self._record("set_local_vad_user_speech", {"owns": owns})

    # 1.0.30 ----------------------------------------------------------------------------------------------------

    def hold_turn(self) -> None:
        """Work for the turn goes on: its timer does not complete it until each hold is released."""
        self._record("hold_turn")

    def release_turn(self) -> None:
        """A `hold_turn` ends."""
        self._record("release_turn")
