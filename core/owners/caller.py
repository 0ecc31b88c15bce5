"""Who calls: in whose name, and with which scopes."""

from dataclasses import dataclass

from core.owners.scope import Scope
from core.owners.view import EVERYTHING, View
from models.owner import DEFAULT_OWNER


@dataclass(frozen=True)
class Caller:
    """Who asks, in whose name, and with which scopes; `key_sha256` is that of a key in the database."""

    owner: str
    scopes: frozenset[Scope]
    key_sha256: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the caller has the scope, or the one that contains all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def view(self) -> View:
        """The rows that the caller gets to see."""
        return EVERYTHING if Scope.ADMIN in self.scopes else View(self.owner)


OPERATOR = Caller(DEFAULT_OWNER, frozenset(Scope))
"""Who calls with a key of the settings, or without one where none are configured."""
