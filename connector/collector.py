"""Python's garbage collector, told what kind of work this is."""

import gc

YOUNG = 50_000  # objects; an event is some fifty, so a pass comes every thousand events rather than every fourteen
MIDDLE, OLD = 20, 50  # passes over the younger generation before one over this


def ease_collector() -> None:
    """Call it once all is imported: that lives as long as the process, and events hold no cycles to be found."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
