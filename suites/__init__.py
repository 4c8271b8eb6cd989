"""The tests of the checks: one test a check, in the order of the areas."""
