"""Measures one family: cross-validation on shared folds, scores with intervals, subgroups, importance, curves.

May import: ``storage``, ``training``.
"""
