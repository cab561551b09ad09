"""Statistics over the turns of many calls, and checks against a budget and a baseline."""
