"""The revisions of the schema that this code knows, oldest first; the last is the one it works with.

Alembic's scripts are the truth (a test compares), but whoever only asks whether a database fits needs no Alembic.
"""

REVISIONS = (
    "2ba56a7bf05f",
    "3bed30fca41c",
    "7d1c5b0e92a4",
    "c41f0d7be215",
    "c41f6ad90b37",
    "e5b27c9d1f60",
    "a93c5e17d842",
    "b7d2e94a1c58",
    "c2e81f4b7d96",
    "d4e81f6b2c93",
    "f19b3c7d5e20",
    "0a6d4f82c9b1",
    "f1a6c27d80be",
    "a7d05b3e9c41",
    "5d83c6f0e17a",
    "d83b6f0a4e17",
    "8e27a4c95b10",
    "c70b9e3d52f8",
    "5e8b1d7a4c36",
    "c7f2a94e6b18",
    "b41e7d9c3a58",
    "9d4b7e02c6a5",
    "e7c05a1f8b29",
)
