"""Control plane: names, networks, proxies, versions and configuration sources."""
