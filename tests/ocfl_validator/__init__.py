"""The OCFL validator of the tests."""
