"""The command line: ``turnlog``, which mirrors the library one to one."""

from turnlog.cli.app import main

__all__ = ["main"]
