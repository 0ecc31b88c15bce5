"""The HTTP API and its one page: takes jobs and reports how they stand. It does none of the work itself."""
