"""An owner's time: stored occurrences, booking and clashes."""
