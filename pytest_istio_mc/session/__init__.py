"""The pytest layer: what happens in which order when a mesh is certified."""
