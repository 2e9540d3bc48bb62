"""Roles on single events: who may see and change what."""
