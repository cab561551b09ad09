"""The command line: ``turnlog``, which mirrors the library one to one."""

from turnlog.cli.main import main

__all__ = ["main"]
