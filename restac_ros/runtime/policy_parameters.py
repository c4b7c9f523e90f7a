"""Parameters of the policy node, and the settings of its loops made from them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from restac_ros.model.text_decoding import TokenChoice
from restac_ros.policy.chunking import Chunking
from restac_ros.policy.prompts import clean
from restac_ros.runtime.node_parameters import (
    Milliseconds,
    NodeParameters,
    OptionalPath,
    ParameterError,
    texts_of,
)
from restac_ros.runtime.runtime_products import RuntimeSettings
from restac_ros.runtime.subtask_rules import SubtaskRules
from restac_ros.runtime.surprise import SurpriseRule


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
    flow_steps: int = Field(
        ge=0, le=100, description='Euler steps of one chunk; 0: as the checkpoint was trained'
    )
    seed: int = Field(ge=0, description='of the noise of chunks, and of the tokens that a planner draws')
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
    planner: bool = Field(description='the network says the subtasks of `prompt`, which is then a task')
    planner_period_s: float = Field(gt=0, le=3600, description='between two questions for the next subtask')
    planner_max_age_ms: Age = Field(description='oldest image behind an answer')
    planner_min_hold_s: float = Field(ge=0, le=3600, description='least time that a subtask is acted by')
    planner_still_s: float = Field(
        ge=0, le=60, description='it asks when the arm has stood still for so long after a motion; 0: never'
    )
    planner_max_silence_s: float = Field(
        gt=0, le=3600, description='without a good answer for so long, no chunk is planned'
    )
    planner_subtasks: Annotated[tuple[str, ...], BeforeValidator(texts_of)] = Field(
        description='the only subtasks that are accepted; empty: any'
    )
    planner_temperature: float = Field(
        ge=0, le=10, description='of drawing the tokens of a subtask; 0: the likeliest is taken'
    )
    planner_top_k: int = Field(
        ge=0, le=100_000, description='tokens are drawn among so many of the likeliest; 0: among all'
    )
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
        return RuntimeSettings(
            replan_period_ns=round(1e9 / self.replan_hz),
            chunk_validity_ns=round(self.chunk_validity_ms * 1e6),
            surprise=SurpriseRule(threshold, release, round(self.replan_gate_interval_ms * 1e6)),
            max_state_age_ns=round(self.max_state_age_ms * 1e6),
            max_prefix_age_ns=round(self.max_prefix_age_ms * 1e6),
            max_touch_age_ns=round(self.max_touch_age_ms * 1e6),
        )

    def planner_rules(self) -> SubtaskRules | None:
        """Return the planner's rules; None: none runs.

        Raises:
            ParameterError: values that contradict each other.
        """
        if not self.planner:
            return None
        if self.planner_max_silence_s <= self.planner_period_s:
            raise ParameterError(
                f"parameter 'planner_max_silence_s' is {self.planner_max_silence_s:g}, expected more than "
                f"'planner_period_s', which is {self.planner_period_s:g}: every question would come too late"
            )
        return SubtaskRules(
            round(self.planner_period_s * 1e9),
            round(self.planner_max_age_ms * 1e6),
            round(self.planner_min_hold_s * 1e9),
            round(self.planner_max_silence_s * 1e9),
            self.planner_subtasks,
            round(self.planner_still_s * 1e9),
        )

    def token_choice(self) -> TokenChoice:
        """Return how the planner chooses the tokens of a subtask.

        Raises:
            ParameterError: values that contradict each other.
        """
        if self.planner_top_k and not self.planner_temperature:
            raise ParameterError(
                f"parameter 'planner_top_k' is {self.planner_top_k} with a 'planner_temperature' of 0, "
                'expected 0: the likeliest token is taken, none is drawn; set a temperature to draw'
            )
        return TokenChoice(self.planner_temperature, self.planner_top_k or None)

    def chunking_choice(self) -> Chunking:
        """How chunks follow each other."""
        return Chunking(self.chunking, self.rtc_max_guidance)
