"""Translation of container addresses and paths to those of this machine."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping

from tests.kafka.broker import free_port

# The ports that services listen on inside their containers.
LISTEN = r"(5000|8000|9090|9092|9093)"
EVERYWHERE = r"(?:0\.0\.0\.0|127\.0\.0\.1)"


class Translation:
    """The loopback port that stands for each port of a container."""

    def __init__(self, services: Collection[str]) -> None:
        names = "|".join(map(re.escape, sorted(services, key=len, reverse=True)))
        self._others = re.compile(rf"(?<![\w.-])({names}):{LISTEN}(?!\d)")
        self._ports: dict[tuple[str, int], int] = defaultdict(free_port)

    def port(self, service: str, inside: int) -> int:
        """Return the loopback port for a port of a service."""
        return self._ports[service, inside]

    def set_port(self, service: str, inside: int, port: int) -> None:
        """Map a service to an address that is already in use."""
        self._ports[service, inside] = port

    def word(self, name: str, text: str, places: Mapping[str, str]) -> str:
        """Return an argument or a variable of the service `name`, translated.

        `places` are folders and files inside the container, and where they are here.
        """
        return self._own(name, self._others.sub(self._other, _moved(text, places)))

    def _other(self, found: re.Match[str]) -> str:
        return f"127.0.0.1:{self.port(found[1], int(found[2]))}"

    def _own(self, name: str, text: str) -> str:
        def mine(found: re.Match[str]) -> str:
            return f"{found[1]}{self.port(name, int(found[2]))}"

        text = re.sub(rf"{EVERYWHERE}(:){LISTEN}(?!\d)", lambda f: f"127.0.0.1{mine(f)}", text)
        text = re.sub(rf"^(--port=|){LISTEN}$", mine, text)
        return re.sub(r"^(--host=|)0\.0\.0\.0$", r"\g<1>127.0.0.1", text)


def _moved(text: str, places: Mapping[str, str]) -> str:
    if not places:
        return text
    below = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
    return re.sub(rf"(?<![\w.-])({below})(?![\w-])", lambda found: places[found[1]], text)
