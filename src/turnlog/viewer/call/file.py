"""The page of a call as one file, which opens from disk and loads nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import msgspec
from markupsafe import Markup

from eventstore.event import Event
from eventstore.hooks.content import without_content
from projections.caller import RULES as TURNLOG
from projections.caller import Reading
from projections.explain import explainer
from projections.explain.paths import parse
from projections.framework_figures import add_figures
from projections.readings import FRAMEWORK, VIDEOSDK, framework_of, reading
from turnlog.terminal import json_text
from turnlog.viewer.call.document import Document, call_document, explanation_data
from turnlog.viewer.call.reading_document import turn_paths
from turnlog.viewer.call.states import Step, states, stride
from turnlog.viewer.pages import renderer

SCRIPTS = (
    "call_lanes", "call_data", "call_dom", "call_source", "call_colours", "call_draw", "call_axis", "call_controls",
    "call_minimap", "call_turns", "call_turn", "call_events", "call_spans", "call_changes", "call",
)  # fmt: skip
"""Modules of the page, each after those that it imports."""


def redacted(events: Sequence[Event]) -> list[Event]:
    """The events without what was said and all other text of user code, as in an encrypted log without its key."""
    return [
        event if visible is None else msgspec.structs.replace(event, payload=visible.decode())
        for event in events
        for visible in [without_content(event.hook, event.payload) if event.payload != "{}" else None]
    ]


def html_file(events: Sequence[Event], rules: str = TURNLOG, step: Step = lambda _done, _of: None) -> bytes:
    """The file. ``step`` is called with the progress. Raises `UnknownRules`, and the errors of the reading."""
    style, script = _text("site.css") + _text("call.css"), _bundle()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    data = json_text(file_data(events, rules, step), indent=False).encode()
    inline = {
        "style": Markup(style),  # noqa: S704 - ours
        "script": Markup(script),  # noqa: S704 - ours
        "data": base64.b64encode(gzip.compress(data, mtime=0)).decode(),
    }
    name = events[0].session_id
    page = renderer("")("call.html", layout="call_file.html", name=name, base="", compare="", policy=policy, **inline)
    return bytes(page.body)


def file_data(events: Sequence[Event], rules: str, step: Step) -> dict[str, Any]:
    """What a served page requests from the server: readings, explanations, and states."""
    readings = {found["rules"]: found for found in (call_document(events, each) for each in _rule_sets(events, rules))}
    rows = next(iter(readings.values()))["events"]
    for found in readings.values():
        del found["events"]
    first = next(iter(readings))
    every = stride(len(events))
    return {
        "rules": first,
        "events": rows,
        "readings": readings,
        "explanations": {name: dict(_explanations(events, found, step)) for name, found in readings.items()},
        "states": {first: {"every": every, "deltas": list(states(events, every, first, step))}},
    }


def _rule_sets(events: Sequence[Event], rules: str) -> list[str]:
    """The rule sets in the file: the chosen one, the default, and that of the framework's release."""
    ours = framework_of(events)[0] in ("", VIDEOSDK)
    return list(dict.fromkeys([rules, TURNLOG, *([FRAMEWORK] if ours else [])]))


def _explanations(events: Sequence[Event], found: Document, step: Step) -> Iterator[tuple[str, dict[str, Any]]]:
    r = reading(events, found["rules"])
    if isinstance(r, Reading):
        add_figures(r, events)
    explain = explainer(r, events)
    for done, turn in enumerate(found["turns"], 1):
        for path in turn_paths(turn):
            yield path, explanation_data(explain(parse(path)))
        step(done, len(found["turns"]))


def _bundle() -> str:
    """The page's modules as one script, each a function that returns its exports.

    A page that is opened from disk cannot load modules.
    """
    return "\n".join(map(_as_function, SCRIPTS)) + "\n"


def _as_function(module: str) -> str:
    text = re.sub(
        r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', r"const \1 = \2;", _text(f"{module}.js"), flags=re.MULTILINE
    )
    exports = re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", text, flags=re.MULTILINE)
    body = re.sub(r"^export ", "", text, flags=re.MULTILINE)
    return f"const {module} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();"


def _text(name: str) -> str:
    return (files("turnlog.viewer") / "static" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The hash by which a content policy allows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
