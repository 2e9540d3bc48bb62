"""Webhooks: what a user is told, sent to their own server, signed, until it has been taken."""
