"""Federated meshes: services imported from a mesh that shares only the root."""
