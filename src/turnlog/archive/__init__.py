"""Moving sessions out of a log and back: archives, retention, erasure, seals, import."""
