"""What a training run is measured beside: the same tasks in one process, and as a Prefect flow."""
