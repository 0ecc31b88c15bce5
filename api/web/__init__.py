"""The page for people; no build step, nothing from elsewhere."""
