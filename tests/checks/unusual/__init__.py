"""Healthy meshes of unusual shapes: recorded ones, changed into what such a mesh would show.

A module here is a subject, with a list ``CASES``; ``tests/checks/test_unusual.py`` judges them.
"""
