"""Reads a source (file, URL, SQL query, UCI archive, sample) into a table with the contract's columns and codes.

May import: ``storage``.
"""
