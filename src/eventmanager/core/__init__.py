"""What every feature stands on: settings, clock, errors, database, HTTP plumbing."""
