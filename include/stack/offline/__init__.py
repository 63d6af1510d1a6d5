"""Writes the folder or archive with which a machine without a network installs and starts Heartline.

May import: ``bootstrap``.
"""
