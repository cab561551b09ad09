"""Adapters record an agent framework's events as hook calls. Each imports its framework; `turnlog` imports none."""
