"""Adapters: each makes a running agent of one framework record itself. Importing one needs its framework."""
