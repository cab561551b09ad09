"""The ``turnlog`` command line, a one-to-one mirror of the library."""

from turnlog.cli.app import main

__all__ = ["main"]
