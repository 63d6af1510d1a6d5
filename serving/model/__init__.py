"""The model that is served: follows the registry's alias, verifies and caches bundles, validates records, predicts.

May import: no other package.
"""
