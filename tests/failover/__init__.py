"""Three PostgreSQL nodes under Patroni, and what becomes of acknowledged events when one of them fails."""
