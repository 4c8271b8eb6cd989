"""Building the lab's binaries and images, once, into the cache."""
