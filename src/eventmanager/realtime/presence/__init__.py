"""Who is at an event now: kept by each process for its sockets, shared through a store."""
