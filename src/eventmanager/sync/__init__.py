"""Keeping a copy: all that a user may read, and what has changed since."""
