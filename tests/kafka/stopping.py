"""Runs volsvc in a process that kills itself at a failpoint.

`python -m tests.kafka.stopping POINT AFTER run …` kills itself once it has passed POINT that often.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import cast

from volsvc.cli.main import main
from volsvc.failpoints import Point, armed


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    point, after, *arguments = sys.argv[1:]
    sys.argv = ["volsvc", *arguments]
    with armed(cast("Point", point), _die, after=int(after)):
        main()
