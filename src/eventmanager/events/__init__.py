"""Events: create, batch, list, get, update, delete, and the agenda of occurrences."""
