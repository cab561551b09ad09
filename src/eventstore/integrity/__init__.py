"""Whether a log is whole and unchanged: sessions, the whole log, gaps."""
