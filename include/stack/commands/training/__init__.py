"""Starts a training run, follows it through outages, and prints its result."""
