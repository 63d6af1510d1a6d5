"""What docker compose runs inside the containers: init, health check, promote.

May import: ``clients``, ``commands``, ``processes``, ``secrets``.
"""
