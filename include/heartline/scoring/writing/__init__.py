"""Writes the output of a scoring run: files below a folder or an address, or a table."""
