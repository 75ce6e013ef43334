"""The payload log: what was asked and answered, and the labels that came later, as Parquet files."""
