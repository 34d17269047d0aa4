"""Pages for programs: is it alive, can it store, what are the figures."""
