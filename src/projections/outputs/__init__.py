"""Output formats of a turn: JSON and analytics payload."""
