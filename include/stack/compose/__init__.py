"""What docker compose runs inside the containers: init, health check, train, promote.

May import: ``clients``, ``commands``, ``processes``, ``secrets``.
"""
