"""The policy at its three rates: prefix, touch and act, each a thread over the latest of the others.

    cameras --frame--> encode_prefix --> latest prefix ------------+
                                             |                     v
    tactile --frame------------------> encode_tactile --> latest touch --> act at the replan rate --> chunk
                                             |                              ^
                                             +-- the gate rises: at once ---+

No chunk is planned while a required stream is invalid, or while prefix or touch are older than they may be.
Every product carries the stamps of what it was made from.
"""

from restac_ros.policy.errors import PolicyError
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.runtime.act_loop import ActLoop
from restac_ros.runtime.holding import refused
from restac_ros.runtime.plan_loop import PlanLoop
from restac_ros.runtime.prefix_loop import PrefixLoop
from restac_ros.runtime.runtime_products import LoopContext
from restac_ros.runtime.touch_loop import TouchLoop
from restac_ros.runtime.worker import Worker


class PromptLoop:
    """Compiles the task requested last in a thread of its own, then adopts it.

    A compilation cannot be interrupted and may take minutes: the worker is asked to stop but not waited for,
    and what it has prepared then is dropped.
    """

    def __init__(self, context: LoopContext) -> None:
        self._context = context
        self._requested: str | None = None
        self.worker = Worker('prompt', self._step, context.outputs.failed, context.waiting)

    def request(self, prompt: str) -> None:
        """Change the task as soon as it is ready; a later request replaces an earlier one."""
        self._requested = prompt
        self.worker.wake.set()

    def _step(self) -> None:
        self.worker.wait()
        prompt, self._requested = self._requested, None
        policy = self._context.policy
        if self.worker.stopping or prompt is None or prompt == policy.prompt:
            return
        try:
            task = policy.prepare_task(prompt)
        except (PolicyError, TokenizerError) as error:
            self._context.outputs.holding(refused('prompt', error))
            return
        if not self.worker.stopping and self._requested is None:
            self._context.outputs.prompt(policy.adopt_task(task))


class PolicyRuntime:
    """Three loops around a policy's three calls, one that prepares a new task, and, with rules, a planner.

    Made for one activation; `stop` ends it for good. With a planner, a prompt is a task that it plans for.
    """

    def __init__(self, context: LoopContext) -> None:
        prefixes, stream = PrefixLoop(context), context.policy.tactile_stream
        touches = TouchLoop(context, prefixes, stream) if stream else None
        self._plans = PlanLoop(context, context.rules) if context.rules else None
        act = ActLoop(context, prefixes, touches, self._plans)
        self._prompts = PromptLoop(context)
        self._workers = [loop.worker for loop in (prefixes, act, touches) if loop]
        # What these two compile cannot be interrupted: they are asked to stop, but not waited for.
        self._compiling = [loop.worker for loop in (self._prompts, self._plans) if loop]

    def start(self) -> None:
        """Begin to plan."""
        for worker in [*self._workers, *self._compiling]:
            worker.start()

    def stop(self) -> None:
        """End after the calls under way. A compilation goes on by itself, and is dropped."""
        for worker in [*self._workers, *self._compiling]:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.join()

    def request_prompt(self, prompt: str) -> None:
        """Change the task as soon as it is compiled; until then the calls use the old one."""
        if self._plans:
            self._plans.set_task(prompt)
        else:
            self._prompts.request(prompt)

    def set_task(self, text: str) -> None:
        """Plan for another task; an empty one ends planning, and the last subtask stays.

        Raises:
            PolicyError: no planner runs.
        """
        self._planning().set_task(text)

    def override(self, text: str) -> None:
        """Act by the operator's subtask until it is released by an empty one.

        Raises:
            PolicyError: no planner runs.
        """
        self._planning().override(text)

    def _planning(self) -> PlanLoop:
        if self._plans is None:
            raise PolicyError('planner: none runs; start the policy with planner: true')
        return self._plans
