"""What the service is measured beside, how each of them is started, and the client that asks them all."""
