"""Explanations and networks put to the test: cases whose object is known, benchmarks, diagnosis, comparison."""
