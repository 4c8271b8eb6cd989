"""Access: remote secrets and what control planes can do with them."""
