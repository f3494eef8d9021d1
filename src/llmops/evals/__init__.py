"""Evaluation: suites run a route over datasets, score what it did, and let a gate decide."""
