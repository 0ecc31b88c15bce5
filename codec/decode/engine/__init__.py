"""The decode engine: many requests advanced together by one thread that owns the device."""
