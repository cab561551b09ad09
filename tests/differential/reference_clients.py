"""What the published reference's own clients send, for `analytics_bodies.py`. Runs in the reference's environment.

``python reference_clients.py analytics`` reads lines ``{"base_url", "options", "session_id", "payloads"}`` and posts;
``python reference_clients.py playground`` reads recorded sessions and writes what is published, a line a session.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import types
from pathlib import Path


def post_analytics() -> None:
    import logging

    logging.disable(logging.CRITICAL)
    site = next(Path(p) for p in sys.path if (Path(p) / "videosdk" / "agents" / "metrics").is_dir())
    sys.path.insert(0, str(site / "videosdk" / "agents" / "metrics"))  # without the framework's heavy __init__
    reference = importlib.import_module("analytics").AnalyticsClient
    for line in sys.stdin:
        job = json.loads(line)
        reference._instance, reference._initialized = None, False
        client = reference()
        client.base_url = job["base_url"]
        client.configure(types.SimpleNamespace(**job["options"]) if job["options"] is not None else None)
        client.set_session_id(job["session_id"])
        for payload in job["payloads"]:
            asyncio.run(client.send_interaction_analytics(payload))


def publish_playground() -> None:
    import reference  # the driver: it stubs the framework and stops the clocks

    class Config:
        def __init__(self, topic: str, message: dict) -> None:
            self.topic, self.message = topic, message

    sys.modules["videosdk"].PubSubPublishConfig = Config  # type: ignore[attr-defined]
    module = importlib.import_module("videosdk.agents.playground_manager")
    module.asyncio = types.SimpleNamespace(create_task=lambda _published: None)

    def manager(sink: list) -> object:
        def publish(config: Config) -> None:
            assert config.topic == "AGENT_METRICS"
            sink.append(dict(config.message))

        room = types.SimpleNamespace(publish_to_pubsub=publish)
        return module.PlaygroundManager(types.SimpleNamespace(room=room))

    reference._Playground = manager
    for line in sys.stdin:
        sent = reference.run(json.loads(line)["calls"])["playground"]
        print(json.dumps([{k: v for k, v in message.items() if k != "_at"} for message in sent]), flush=True)


if __name__ == "__main__":
    {"analytics": post_analytics, "playground": publish_playground}[sys.argv[1]]()
