"""Jobs: values (`job`), the state machine (`transitions`), reads (`queries`), leases (`lease`), unsent
notifications (`outbox`), repair (`reconciler`). The database is the truth; everything else may be lost."""
