"""Commands on archives of Parquet files: archive, rebuild."""
