"""What was done for an owner, and what a quota leaves."""
