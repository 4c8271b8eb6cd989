"""Probes: small workloads in every cluster, which send, answer and report facts."""
