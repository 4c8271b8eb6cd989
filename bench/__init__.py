"""Measurements: the time and memory of certifications, against the same work by hand."""
