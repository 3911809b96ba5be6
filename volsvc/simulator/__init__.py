"""An exchange that misbehaves on request: Coinbase's protocol over a recording or the generator.

It is part of the package, and not of the tests, so that `volsvc simulate` can show it to a user
and the tests run the very same server.
"""

from volsvc.simulator.script import Fault, Script, read_script
from volsvc.simulator.server import Simulator
from volsvc.simulator.steps import Steps

__all__ = ["Fault", "Script", "Simulator", "Steps", "read_script"]
