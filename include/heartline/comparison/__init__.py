"""Compares families by paired tests on shared folds, and decides the verdict and whether production may move.

May import: ``evaluation``.
"""
