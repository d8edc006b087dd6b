"""What trained agents do."""
