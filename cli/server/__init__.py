"""What commands that talk to a server share: its client and what was sent to it."""
