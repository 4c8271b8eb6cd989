"""Tracing: the path of a request hop by hop, and the first hop that is broken."""
