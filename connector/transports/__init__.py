"""How requests leave: one file per way."""
