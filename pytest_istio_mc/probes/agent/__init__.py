"""The agent: the program that runs in probe pods; standard library of Python 3.8 only."""
