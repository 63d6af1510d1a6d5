"""The servers that the service is compared with, how each is started, and the load client."""
