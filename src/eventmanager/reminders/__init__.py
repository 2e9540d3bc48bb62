"""Reminders: each reader of an event is told of its occurrences so long before they start."""
