"""Prometheus metrics over all worker processes.

May import: ``model``.
"""
