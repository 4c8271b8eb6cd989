"""The lab's binaries and images, built once into the cache."""
