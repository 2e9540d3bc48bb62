"""The Postman collection: complete, and passing against a real server."""
