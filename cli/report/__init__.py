"""Pages and tables that commands leave behind."""
