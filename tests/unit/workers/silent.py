"""What a runner tells others, told to nobody."""


class Silent:
    """Events that nobody watches, and a broker that takes nothing."""

    def publish(self, *_: object) -> None: ...
    def notify(self, *_: object) -> None: ...
