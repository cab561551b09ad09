"""Renders calls on the terminal."""
