"""What `misc doctor` looks at: each check tries one thing for real and says what to do when it does not work."""
