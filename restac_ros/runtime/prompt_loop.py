"""Compiles a new task in a thread of its own, while the policy continues with the old one."""

from restac_ros.policy.errors import PolicyError
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.runtime.holding import refused
from restac_ros.runtime.runtime_products import LoopContext
from restac_ros.runtime.worker import Worker


class PromptLoop:
    """Prepares the task that was requested last, then swaps it in.

    A compilation cannot be interrupted and may take minutes: the worker is asked to stop but not waited for,
    and what it has prepared then is dropped.
    """

    def __init__(self, context: LoopContext) -> None:
        self._context = context
        self._requested: str | None = None
        self.worker = Worker('prompt', self._step, context.outputs.failed)

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
