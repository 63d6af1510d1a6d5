"""Reads the input of a scoring run: chunks of any source, and the cells as the values of the contract's fields."""
