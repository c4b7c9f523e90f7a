"""The policy at its three rates: prefix, touch and act, each a thread over the latest of the others.

    cameras --frame--> encode_prefix --> latest prefix ------------+
                                             |                     v
    tactile --frame------------------> encode_tactile --> latest touch --> act at the replan rate --> chunk
                                             |                              ^
                                             +-- the gate rises: at once ---+

No chunk is planned while a required stream is invalid, or while prefix or touch are older than they may be.
Every product carries the stamps of what it was made from.
"""

from restac_ros.runtime.act_loop import ActLoop
from restac_ros.runtime.prefix_loop import PrefixLoop
from restac_ros.runtime.runtime_products import Workplace
from restac_ros.runtime.touch_loop import TouchLoop


class PolicyRuntime:
    """Three loops around a policy's three calls. Made for one activation; `stop` ends it for good."""

    def __init__(self, place: Workplace) -> None:
        self._prefixes = PrefixLoop(place)
        touches = TouchLoop(place, self._prefixes) if place.policy.uses_touch else None
        act = ActLoop(place, self._prefixes, touches)
        loops = [loop for loop in (self._prefixes, act, touches) if loop]
        self._workers = [loop.worker for loop in loops]

    def start(self) -> None:
        """Begin to listen and to plan."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """End after the calls under way."""
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.join()

    def request_prompt(self, prompt: str) -> None:
        """Change the task from the next prefix on."""
        self._prefixes.request_prompt(prompt)
