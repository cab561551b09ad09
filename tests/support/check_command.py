"""Stands in for ``pip`` and ``make`` in the documents' commands: what they name exists. Exit code 1 if it does not."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def pip(arguments: list[str]) -> str | None:
    """What is wrong with ``pip install REQUIREMENT…``."""
    verb, *requirements = arguments
    extras = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if verb != "install" or not requirements:
        return "not an installation"
    for requirement in requirements:
        found = re.fullmatch(r"(?:turnlog|\.)(?:\[([\w,]+)\])?|pre-commit", requirement)
        if found is None:
            return f"{requirement} is not this project"
        unknown = set((found[1] or "").split(",")) - {"", *extras}
        if unknown:
            return f"there is no extra {min(unknown)!r}"
    return None


def make(arguments: list[str]) -> str | None:
    """What is wrong with ``make TARGET… NAME=VALUE…``."""
    text = (TOP / "Makefile").read_text()
    for argument in arguments:
        name, equals, _value = argument.partition("=")
        if equals and f"$({name})" not in text:
            return f"the Makefile has no variable {name}"
        if not equals and not re.search(rf"^{re.escape(name)}:", text, re.MULTILINE):
            return f"the Makefile has no target {name}"
    return None


if __name__ == "__main__":
    sys.exit({"pip": pip, "make": make}[sys.argv[1]](sys.argv[2:]))
