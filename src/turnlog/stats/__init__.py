"""Statistics over the turns of many calls, and the gates that hold them to a budget."""
