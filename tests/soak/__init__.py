"""The soak: kills, a full disk, many processes, a million events and fuzzing, each counted. ``make soak`` runs it."""
