"""Generates and reads secrets: passwords, API keys, the ``.env`` file of docker compose.

May import: no other package.
"""
