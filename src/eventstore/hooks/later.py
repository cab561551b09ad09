"""Hooks that the reference added after 1.0.2. The log keeps them; the rule set decides what they mean.

Under ``videosdk-1.0`` they have no effect. Arguments that older hooks got later are in `eventstore.hooks.collector`,
declared with `optional_since`; without them events are as before, so the schema version of those hooks stays 1.
"""

from __future__ import annotations

from typing import Literal

from eventstore.hooks.declare import Record


class LaterHooks:
    _record: Record

    # 1.0.11 ----------------------------------------------------------------------------------------------------

    def on_wait_for_additional_speech_complete(self, actual_duration: float) -> None:
        """The wait ended after ``actual_duration`` seconds, possibly cut short by more speech."""
        self._record("on_wait_for_additional_speech_complete", {"actual_duration": actual_duration})

    def emit_user_transcript_transport(
        self, text: str, type: Literal["interim", "final"], utterance_ts: int | None = None
    ) -> None:
        """User transcript so far, for clients; ``utterance_ts`` (1.0.30) identifies the utterance."""
        args = {"text": text, "type": type, "utterance_ts": utterance_ts}
        self._record("emit_user_transcript_transport", args)

    def emit_agent_transcript_transport(self, text: str, type: Literal["interim", "final"]) -> None:
        """Agent transcript so far, for clients."""
        self._record("emit_agent_transcript_transport", {"text": text, "type": type})

    # 1.0.27 ----------------------------------------------------------------------------------------------------

    def set_local_vad_user_speech(self, owns: bool) -> None:
        """Whether a local VAD timestamps the user's speech, so that a realtime provider's timestamps are ignored."""
        self._record("set_local_vad_user_speech", {"owns": owns})

    # 1.0.30 ----------------------------------------------------------------------------------------------------

    def hold_turn(self) -> None:
        """Keep the turn open: its timer does not complete it until every hold is released."""
        self._record("hold_turn")

    def release_turn(self) -> None:
        """Release one `hold_turn`."""
        self._record("release_turn")
