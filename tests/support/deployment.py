"""The deployment files as data: the Dockerfile's instructions, the services of Compose, the pods of Kubernetes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from support.documents import TOP, blocks

COMPOSE = TOP / "deploy" / "compose.yaml"
KUBERNETES = TOP / "deploy" / "kubernetes"
MANIFESTS = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
PAGE = TOP / "docs" / "deployment.md"


class CommandLine(NamedTuple):
    where: str
    words: list[str]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: name and arguments, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", (TOP / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


def image_command() -> tuple[list[str], list[str]]:
    """The image's entry point and its default arguments."""
    found = dict(instructions())
    return json.loads(found["ENTRYPOINT"]), json.loads(found["CMD"])


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def service_command(service: dict[str, Any]) -> list[str]:
    entrypoint, arguments = image_command()
    return service.get("entrypoint", entrypoint) + service.get("command", [] if "entrypoint" in service else arguments)


def objects(kind: str = "") -> list[dict[str, Any]]:
    """All Kubernetes objects, or those of one kind."""
    every = [found for path in MANIFESTS for found in yaml.safe_load_all(path.read_text())]
    return [found for found in every if kind in ("", found["kind"])]


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, metadata and specification of every pod template."""
    for found in objects():
        spec = found.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield found["metadata"]["name"], template["metadata"], template["spec"]


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for _pod, _metadata, spec in pods():
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            yield container["name"], container


def command_lines() -> list[CommandLine]:
    """Every command that a container runs, and those of the page."""
    entrypoint, arguments = image_command()
    found = [CommandLine("Dockerfile", entrypoint + arguments)]
    for name, service in services().items():
        if "build" in service:
            found.append(CommandLine(f"compose.yaml: {name}", service_command(service)))
    for name, container in containers():
        words = container.get("command") or [*entrypoint, *container.get("args", arguments)]
        found.append(CommandLine(f"kubernetes: {name}", words))
    for block in blocks(PAGE):
        for line in block.text.replace("\\\n", " ").splitlines():
            if block.language == "sh" and re.match(r"turnlog |.* run --rm \S+ ", line):
                words = shlex.split(line.partition(" run --rm ")[2], comments=True)[1:]
                found.append(CommandLine(f"{PAGE.name}: {line}", ["turnlog", *words] if words else shlex.split(line)))
    return found


def host_path(path: str) -> Path:
    return (COMPOSE.parent / path).resolve()
