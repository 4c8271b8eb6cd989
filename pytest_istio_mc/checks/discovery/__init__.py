"""Discovery: endpoints of every cluster in every proxy, and requests that reach them."""
