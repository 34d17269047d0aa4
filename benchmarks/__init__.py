"""The numbers of the design, by one command: `python -m benchmarks`."""
