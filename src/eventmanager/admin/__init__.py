"""The Admin's view of users: who they are, whether they may sign in, and their global role."""
