"""Entry point, environment and health check of the images in deploy/Dockerfile."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "deploy" / "Dockerfile"


@dataclass(frozen=True)
class Image:
    """The settings with which a container of a stage starts."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def after(self, instruction: str, rest: str) -> Image:
        """Return the image after one more instruction."""
        if instruction == "ENTRYPOINT":
            return replace(self, entrypoint=tuple(json.loads(rest)))
        if instruction == "CMD":
            return replace(self, command=tuple(json.loads(rest)))
        if instruction == "HEALTHCHECK":
            return replace(self, health=tuple(json.loads(rest[rest.index("CMD") + 3 :])))
        if instruction == "ENV":
            pairs = dict(word.split("=", 1) for word in shlex.split(rest))
            return replace(self, environment={**self.environment, **pairs})
        return self


def read_images(path: Path = DOCKERFILE) -> dict[str, Image]:
    """Return every stage of the Dockerfile by its name."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    images: dict[str, Image] = {}
    name = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            parent, _, name = rest.partition(" AS ")
            images[name] = images.get(parent, Image())
        elif name:
            images[name] = images[name].after(instruction, rest.strip())
    return images
