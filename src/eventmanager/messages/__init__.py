"""Messages: what the recipients of a change are told, later read, mark as read, and wish for."""
