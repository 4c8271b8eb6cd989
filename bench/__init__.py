"""Measurements: what this project takes, phase by phase, against the same work done by hand."""
