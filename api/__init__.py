"""The HTTP API and its one page: takes jobs and tells how they stand. It does none of the work itself."""
