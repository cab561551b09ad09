"""Sessions as files for other programs: JSON lines, CSV, payloads, Perfetto."""
