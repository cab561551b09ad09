"""Where it goes: what the projections make, sent to the outside world."""
