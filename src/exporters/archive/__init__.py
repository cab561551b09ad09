"""The log as Parquet: one file a partition, each session whole in one file, readable by any tool (decision 28)."""
