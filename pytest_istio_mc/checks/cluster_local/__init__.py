"""Cluster-local services: what mesh configuration keeps within a cluster."""
