"""A source for machines without sensors: test patterns and a swinging arm on the contract's topics."""

from collections.abc import Iterator

from pydantic import Field

from restac_ros.nodes.running import run_node
from restac_ros.nodes.source.patterns import Pattern, messages, patterns_of
from restac_ros.nodes.source.source import SourceNode, SourceParameters, Topic, contract_topics
from restac_ros.runtime.playback import Outgoing


class SyntheticParameters(SourceParameters):
    """See config/synthetic.yaml."""

    seconds: float = Field(gt=0, le=86_400, description='how long to publish, s')
    camera_width_px: int = Field(ge=16, le=8192, description="width of the cameras' images")
    camera_height_px: int = Field(ge=16, le=8192, description='their height')


class SyntheticNode(SourceNode[SyntheticParameters]):
    """Publishes for `seconds`, then ends."""

    model = SyntheticParameters

    def __init__(self) -> None:
        super().__init__('synthetic_node')
        self._patterns: dict[str, Pattern] = {}

    def open(self) -> dict[str, Topic]:
        size_px = (self.parameters.camera_height_px, self.parameters.camera_width_px)
        self._patterns = patterns_of(self.contract, size_px)
        return contract_topics(self.contract)

    def messages(self, start_ns: int) -> Iterator[Outgoing]:
        return messages(self.contract, self._patterns, self.parameters.seconds, start_ns)


def main() -> None:
    """Entry point."""
    run_node(SyntheticNode)
