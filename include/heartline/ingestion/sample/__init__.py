"""Generates the synthetic sample cohort."""
