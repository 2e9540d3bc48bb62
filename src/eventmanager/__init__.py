"""A self-hosted backend for events that people share."""
