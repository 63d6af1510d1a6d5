"""Parses tables: CSV, JSON, Excel, Parquet, and archives of them."""
