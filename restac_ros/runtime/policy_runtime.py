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
from restac_ros.runtime.prompt_loop import PromptLoop
from restac_ros.runtime.runtime_products import LoopContext
from restac_ros.runtime.touch_loop import TouchLoop


class PolicyRuntime:
    """Three loops around a policy's three calls, and one that prepares a new task.

    Made for one activation; `stop` ends it for good.
    """

    def __init__(self, context: LoopContext) -> None:
        prefixes, stream = PrefixLoop(context), context.policy.tactile_stream
        touches = TouchLoop(context, prefixes, stream) if stream else None
        act = ActLoop(context, prefixes, touches)
        self._prompts = PromptLoop(context)
        self._workers = [loop.worker for loop in (prefixes, act, touches) if loop]

    def start(self) -> None:
        """Begin to plan."""
        for worker in [*self._workers, self._prompts.worker]:
            worker.start()

    def stop(self) -> None:
        """End after the calls under way. A compilation goes on by itself, and is dropped."""
        for worker in [*self._workers, self._prompts.worker]:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.join()

    def request_prompt(self, prompt: str) -> None:
        """Change the task as soon as it is compiled; the calls go on with the old one meanwhile."""
        self._prompts.request(prompt)
