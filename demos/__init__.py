"""Every destination, run for real against a server on this machine: `make demo-destinations`."""
