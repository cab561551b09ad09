"""Log lines sent to an HTTP endpoint."""

from exporters.logs.destination import HttpLogs

__all__ = ["HttpLogs"]
