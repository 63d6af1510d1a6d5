"""The commands of ``./heartline``, one module each.

May import: ``bootstrap``, ``clients``, ``offline``, ``processes``, ``secrets``.
"""
