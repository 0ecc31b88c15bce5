"""What every process stands on: settings, logging, errors, database, queue, events, storage, jobs."""
