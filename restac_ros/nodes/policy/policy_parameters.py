"""Parameters of the policy node, and the settings of its loops made from them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from restac_ros.nodes.parameters import Milliseconds, NodeParameters, OptionalPath, ParameterError
from restac_ros.policy.chunking import Chunking
from restac_ros.policy.prompts import clean
from restac_ros.runtime.deployment import runtime_settings
from restac_ros.runtime.runtime_products import RuntimeSettings


def _task(prompt: str) -> str:
    if not clean(prompt).strip():
        raise ValueError('expected a task such as "insert the plug"')
    return prompt


Age = Annotated[float, Field(gt=0, le=60_000)]


class PolicyParameters(NodeParameters):
    """See config/policy.yaml."""

    changeable = frozenset({'prompt'})

    checkpoint: OptionalPath = Field(description='checkpoint directory')
    prompt: Annotated[str, AfterValidator(_task)] = Field(
        description='task of the robot; may be changed while running'
    )
    tokenizer: OptionalPath = Field(description="SentencePiece file; empty: the checkpoint's own")
    dtype: Literal['checkpoint', 'auto', 'float32', 'bfloat16'] = Field(
        description='arithmetic of the network'
    )
    flow_steps: int = Field(ge=1, le=100, description='Euler steps of one chunk')
    seed: int = Field(ge=0, description='of the noise that chunks are drawn from')
    replan_hz: float = Field(gt=0, le=200, description='chunks a second')
    replan_gate_threshold: float = Field(ge=0, le=1, description='a gate rising above it triggers; 1: never')
    replan_gate_release: float = Field(ge=0, le=1, description='down to this before it can trigger again')
    replan_gate_interval_ms: Milliseconds = Field(description='least time between two triggered replans')
    chunk_validity_ms: Milliseconds = Field(
        description='latest start of a chunk after its state was measured'
    )
    max_state_age_ms: Age = Field(description='oldest measured state that a chunk is anchored at')
    max_prefix_age_ms: Age = Field(description='oldest image behind a chunk')
    max_touch_age_ms: Age = Field(description='oldest tactile frame behind a chunk')
    max_frozen_ms: Milliseconds = Field(description='longest that an image may repeat; 0: not watched')
    chunking: Literal['receding_horizon', 'rtc_guided', 'rtc_trained'] = Field(
        description='how chunks follow each other'
    )
    rtc_max_guidance: float = Field(gt=0, le=100, description='bound on the guidance of rtc_guided (beta)')
    rtc_overlap_steps: int = Field(ge=1, le=1000, description='steps bound to the running chunk at most')
    rtc_initial_delay_steps: int = Field(ge=0, le=1000, description='delay assumed until one is measured')
    rtc_use_topic: str = Field(min_length=1, description='ChunkUse of the streamer')
    niceness: int = Field(ge=0, le=19, description="nice value of the network's threads")
    compile_cache: OptionalPath = Field(description='directory of compiled programs; empty: under ~/.cache')

    def settings(self) -> RuntimeSettings:
        """Return the settings of the loops.

        Raises:
            ParameterError: values that contradict each other.
        """
        threshold, release = self.replan_gate_threshold, self.replan_gate_release
        if release > threshold:
            raise ParameterError(
                f"parameter 'replan_gate_release' is {release:g}, above 'replan_gate_threshold', which is "
                f'{threshold:g}; expected at most the same'
            )
        return runtime_settings(self)

    def chunking_choice(self) -> Chunking:
        """How chunks follow each other.

        Raises:
            ParameterError: values that contradict each other.
        """
        # An Euler step moves the sample by up to max_guidance / flow_steps of its error.
        if self.chunking == 'rtc_guided' and self.rtc_max_guidance > self.flow_steps:
            raise ParameterError(
                f"parameter 'rtc_max_guidance' is {self.rtc_max_guidance:g}, above 'flow_steps', which is "
                f'{self.flow_steps}; guidance would overshoot: expected at most the same'
            )
        return Chunking(self.chunking, self.rtc_max_guidance)
