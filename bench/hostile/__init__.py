"""The service at full size under more than it can do, and thousands of idle and half-open connections beside it."""
