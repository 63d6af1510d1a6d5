"""Reaches the bytes and rows of a source: files in the allowed folders, web addresses, the UCI archive, databases."""
