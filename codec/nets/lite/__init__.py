"""The restorer's networks of the profile lite: small, trained by this project, shipped with it."""
