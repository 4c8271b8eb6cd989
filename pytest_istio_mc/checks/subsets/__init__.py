"""Subsets: routes and weights across clusters."""
