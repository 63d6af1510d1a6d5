"""The origin that some rules treat specially; ``ingestion.source_catalog`` has all origins. It imports nothing."""

SAMPLE = "sample"
