"""Exports a fitted pipeline as skops and ONNX, packs the bundle, and starts the service once with it as a smoke test.

May import: ``training``.
"""
