"""Who calls, what that caller may do, see and use up."""
