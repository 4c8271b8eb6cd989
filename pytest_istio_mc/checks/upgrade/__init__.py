"""What happened to a mesh while somebody changed it."""
