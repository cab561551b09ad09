"""Rebuilding what projections make of an archive, one task a partition, on one machine or on a Dask cluster."""
