"""Locality: nearest first, failover, shares."""
