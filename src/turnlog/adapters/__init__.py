"""Adapters: what an agent framework reports, translated into hooks. Importing one needs its framework."""
