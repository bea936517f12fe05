"""What the WMS keeps in PostgreSQL: the only place with its SQL."""
