"""Read models: rows of sessions and turns, made by replays, kept beside the log and never trusted over it."""

from turnlog.read_models.cache import delete_cached
from turnlog.read_models.refresh import Plan, model_rows, plan

__all__ = ["Plan", "delete_cached", "model_rows", "plan"]
