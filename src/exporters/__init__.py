"""Exporters: projections sent to collectors and endpoints, written as files, or served to a browser."""
