"""``python -m turnlog``."""

from turnlog.cli import main

main()
