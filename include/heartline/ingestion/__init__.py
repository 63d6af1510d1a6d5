"""Reads a source (file, URL, archive, SQL query, synthetic sample) into one table in the contract's columns and codes.

May import: ``heartline.contract``, ``heartline.errors``.
"""
