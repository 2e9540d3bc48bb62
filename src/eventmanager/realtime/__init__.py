"""Messages: what readers of an event are told."""
