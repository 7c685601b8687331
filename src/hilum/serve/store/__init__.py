"""What the server remembers: films, results, readings, users, and who saw what. SQLite, or PostgreSQL by URL."""
