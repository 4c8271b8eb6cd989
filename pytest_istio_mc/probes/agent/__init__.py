"""The agent: the program in probe pods, with the standard library of Python 3.8."""
