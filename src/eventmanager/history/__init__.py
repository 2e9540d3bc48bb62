"""Versions: every state an event has had."""
