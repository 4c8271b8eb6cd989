"""Probes: small workloads in every cluster that send, answer and report facts; they never judge."""
