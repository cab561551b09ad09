"""How calls are drawn on a terminal."""
