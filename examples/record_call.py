"""Record a sample call into the log of TURNLOG_DB, with the hooks called as an agent calls them.

Takes two seconds, as the call does. Optional argument: the session id.
"""

from __future__ import annotations

import os
import sys
import time

from turnlog import Recorder, open_store

QUESTION = "Is the table by the window free tonight?"
ANSWER = "It is. Shall I book it for you?"


def play(call: Recorder) -> None:
    """One question and its answer."""
    call.on_user_speech_start()
    time.sleep(0.6)
    call.on_user_speech_end()
    call.on_stt_start()
    time.sleep(0.1)
    call.on_stt_complete(QUESTION)
    call.set_user_transcript(QUESTION)
    call.on_llm_start()
    time.sleep(0.3)
    call.on_llm_first_token()
    call.on_tts_start()
    time.sleep(0.1)
    call.on_llm_complete()
    call.set_agent_response(ANSWER)
    call.on_tts_first_byte()
    call.on_agent_speech_start()
    time.sleep(0.8)
    call.on_agent_speech_end()
    call.session_ended("the caller hung up")


def main() -> None:
    session = sys.argv[1] if len(sys.argv) > 1 else f"sample-{time.time_ns()}"
    store = open_store(os.environ["TURNLOG_DB"])
    call = Recorder(store, session_id=session)
    play(call)
    stored = call.close()
    store.close()
    if not stored:
        sys.exit(f"{session} is not stored whole ({call.health}); next: turnlog recover")
    print(f"recorded {session}; next: turnlog replay {session}")


if __name__ == "__main__":
    main()
