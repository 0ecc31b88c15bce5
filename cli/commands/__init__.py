"""The subcommands of `misc`, one a module, each with `register(app)`."""
