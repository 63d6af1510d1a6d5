"""Stores snapshots, train/test splits, fold plans and bundles under the sha256 of their content, on any fsspec URI.

May import: no other package.
"""
