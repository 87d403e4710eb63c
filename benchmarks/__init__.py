"""Benchmarks: every figure of README and docs is printed by a command of this package."""
