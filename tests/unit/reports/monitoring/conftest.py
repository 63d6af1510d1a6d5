"""An empty store of the monitoring on PostgreSQL."""

from tests.unit.monitoring.conftest import monitoring

__all__ = ["monitoring"]
