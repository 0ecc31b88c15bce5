"""How the work stands, and its news."""
