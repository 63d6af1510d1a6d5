"""Runs before there is a virtual environment, with the standard library only: creates the environments with uv.

May import: ``secrets``.
"""
