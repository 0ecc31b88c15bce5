"""The processes of `misc up`: which there are, how they are watched and ended."""
