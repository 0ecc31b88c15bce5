"""The text payload: texts coded by a frozen prior."""
