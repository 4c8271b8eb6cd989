"""API server loss: what goes on while a cluster cannot be watched."""
