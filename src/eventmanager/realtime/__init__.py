"""News: what readers of an event are told, and how word of it gets around at once."""
