"""Mutation testing: small faults, made by mutmut, that the tests of a package must notice."""
