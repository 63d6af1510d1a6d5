"""Mappings: how a source's columns, words and units become those of the contract."""
