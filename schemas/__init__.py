"""Shapes of data from and to the outside, as marshmallow schemas, and nothing else."""
