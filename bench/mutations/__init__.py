"""Millions of damaged streams and uploads: what answers with anything but a picture or a typed error is found here."""
