"""Benchmarks: what explanations cost, and how far they can be trusted. They measure; tests never assert times."""
