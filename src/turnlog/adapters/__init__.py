"""Adapters: what an agent framework does, told in our hooks. Each imports its framework; `turnlog` imports none."""
