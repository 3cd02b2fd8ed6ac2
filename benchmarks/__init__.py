"""Microbenchmarks of the ops against named rivals, measured in one run: `python -m benchmarks`."""
