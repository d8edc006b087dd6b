"""How the members of a population act and learn."""
