"""The broker's URL, parsed once; both clients, Celery's and redis-py's, are built from the result. Connects to nothing.

Either library reads URLs in its own way: one takes an option that kills the other, and Celery's does not verify
certificates unless it is told to.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

_PLAIN, _TLS = frozenset({"redis", "valkey"}), frozenset({"rediss", "valkeys"})
_SOCKET = frozenset({"redis+socket", "valkey+socket", "unix"})
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = frozenset({"ssl_cert_reqs", "ssl_check_hostname", *_FILES})
_DATABASE_OPTIONS = frozenset({"db", "virtual_host"})
_VERIFIES = {"required": True, "optional": True, "none": False}
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_ESCAPES = "Write : / ? # @ in a name or a password as %3A %2F %3F %23 %40."


@dataclass(frozen=True)
class RedisTLS:
    """How the server's certificate is looked at, and which one is shown to it. Without `ca_file` the system's
    authorities are trusted."""

    verifies: bool = True
    checks_host: bool = True
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    @property
    def query(self) -> dict[str, str]:
        """The options as both libraries read them in a URL."""
        values = {
            "ssl_cert_reqs": "required" if self.verifies else "none",
            "ssl_check_hostname": "true" if self.verifies and self.checks_host else "false",
        }
        files = zip(_FILES, (self.ca_file, self.certificate_file, self.key_file), strict=True)
        return values | {name: path for name, path in files if path is not None}


@dataclass(frozen=True)
class RedisURL:
    """Where Redis or Valkey is and how it is talked to. `socket_path` instead of `host` and `port`."""

    host: str = "localhost"
    port: int = 6379
    database: int = 0
    user: str | None = None
    password: str | None = None
    socket_path: str | None = None
    tls: RedisTLS | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL; raises ValueError with a sentence, in which no password is."""
        scheme, separator, rest = text.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in _PLAIN | _TLS | _SOCKET:
            raise ValueError(
                "it begins with redis://, rediss:// (TLS), valkey://, valkeys:// or redis+socket://; one server"
            )
        if {";", ","} & set(rest.partition("/")[0].rpartition("@")[2]):
            raise ValueError("it names several servers; name the one that takes writes")
        try:
            parts = urlsplit(text)
            port = parts.port
            host = parts.hostname
        except ValueError:
            raise ValueError(f"it has a port that is no number. {_ESCAPES}") from None
        if parts.fragment or text.endswith("#"):
            raise ValueError(f"it has a # that ends the address. {_ESCAPES}")
        options = _options_of(parts.query)
        user, password = (unquote(value) if value else None for value in (parts.username, parts.password))
        if scheme in _SOCKET:
            if host or not parts.path.strip("/"):
                raise ValueError("a socket is named as redis+socket:///run/redis.sock, with three slashes")
            _check_known(options, _DATABASE_OPTIONS, scheme)
            path = unquote(parts.path)
            return cls(database=_database_of("", options), user=user, password=password, socket_path=path)
        _check_known(options, _DATABASE_OPTIONS | _TLS_OPTIONS, scheme)
        tls = None
        if scheme in _TLS:
            tls = _tls_of(options)
        elif stray := sorted(_TLS_OPTIONS & options.keys()):
            raise ValueError(f"{stray[0]} is for TLS; begin the address with rediss://")
        database = _database_of(parts.path.strip("/"), options)
        return cls(host or "localhost", port or 6379, database, user, password, tls=tls)

    @property
    def celery(self) -> str:
        """The URL as Celery reads it. Every certificate option is there, since it verifies nothing by default."""
        if self.socket_path is None:
            return self.redis_py
        database = f"?virtual_host={self.database}" if self.database else ""
        return f"redis+socket://{self._login}{quote(self.socket_path)}{database}"

    @property
    def redis_py(self) -> str:
        """The URL as redis-py reads it."""
        if self.socket_path is not None:
            return f"unix://{self._login}{quote(self.socket_path)}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        place = f"{self._login}{host}:{self.port}/{self.database}"
        return f"redis://{place}" if self.tls is None else f"rediss://{place}?{urlencode(self.tls.query)}"

    def __repr__(self) -> str:
        """Where it is, without the password."""
        return f"RedisURL({self.socket_path or f'{self.host}:{self.port}'}, database {self.database})"

    @property
    def _login(self) -> str:
        if self.user is None and self.password is None:
            return ""
        return f"{quote(self.user or '', safe='')}:{quote(self.password or '', safe='')}@"


def socket_url(path: Path) -> str:
    """The URL of a server on a unix socket, whatever characters its path has."""
    return f"redis+socket://{quote(str(path))}"


def _options_of(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise ValueError(f"it has the option {name} twice")
        options[name] = value
    return options


def _check_known(options: dict[str, str], known: frozenset[str], scheme: str) -> None:
    for name in options:
        if name not in known:
            names = ", ".join(sorted(known))
            raise ValueError(f"the option {name[:40]!r} is not understood; {scheme}:// takes {names}")


def _database_of(path: str, options: dict[str, str]) -> int:
    named = [value for value in (path, *(options.get(name, "") for name in sorted(_DATABASE_OPTIONS))) if value]
    if any(not (value.isascii() and value.isdigit()) for value in named) or len({int(value) for value in named}) > 1:
        raise ValueError("the database is one number, as in redis://host:6379/0")
    return int(named[0]) if named else 0


def _tls_of(options: dict[str, str]) -> RedisTLS:
    wish = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    check = options.get("ssl_check_hostname", "true").lower()
    if wish not in _VERIFIES:
        raise ValueError("ssl_cert_reqs is required (the default) or none")
    if check not in _TRUE | _FALSE:
        raise ValueError("ssl_check_hostname is true (the default) or false")
    for name in _FILES:
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f"{name} names {options[name]}, and there is no such file")
    return RedisTLS(_VERIFIES[wish], check in _TRUE, *(options.get(name) for name in _FILES))
