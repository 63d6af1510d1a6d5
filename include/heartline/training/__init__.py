"""Defines the model families: preprocessing, hyperparameters, tuning and fitting.

May import: ``storage``.
"""
