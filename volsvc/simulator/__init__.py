"""A simulated exchange with scripted faults: Coinbase's protocol over a recording or the generator.

It is a part of the package, not of the tests, so that `volsvc simulate` can offer it to users and
the tests run the very same server.

- `server`: the WebSocket and REST server.
- `script`: the script of an exchange and its faults.
- `playback`: plays the steps to the subscribers and applies the faults.
- `steps`: the ticks in steps, and the trades of the past.
- `session`, `subscribers`: one client, and all that have subscribed.
- `coinbase_messages`: the messages of Coinbase, the one venue that is played.
"""

from volsvc.simulator.script import Fault, Script, read_script
from volsvc.simulator.server import Simulator
from volsvc.simulator.steps import Steps

__all__ = ["Fault", "Script", "Simulator", "Steps", "read_script"]
