"""Detects repeated images: a hanging driver may republish its last one with new stamps."""

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.freezes import same_content
from restac_ros.framing.sample import HEADER_BYTES, Sample


class FreezeWatch:
    """Time since the content of each image stream last changed, compared bit by bit.

    Sensor noise makes every camera image differ; joints of an arm at rest may repeat, and are not watched.
    `max_frozen_ns` 0 switches the watch off, for simulators, whose images of a scene at rest are identical.
    """

    def __init__(self, contract: Contract, max_frozen_ns: int) -> None:
        self._max_frozen_ns = max_frozen_ns
        images = [*contract.by_role('camera'), *contract.by_role('tactile')] if max_frozen_ns else []
        self._watched = frozenset(images)
        self._content: dict[str, np.ndarray] = {}
        self._since_ns: dict[str, int] = {}

    def add(self, sample: Sample) -> None:
        """Compare a sample with the previous one of its stream."""
        if sample.stream not in self._watched:
            return
        content = np.frombuffer(sample.cdr, np.uint8)[HEADER_BYTES:]
        before = self._content.get(sample.stream)
        self._content[sample.stream] = content
        if before is None or not same_content(before, content):
            self._since_ns[sample.stream] = sample.receive_ns

    def forget(self) -> None:
        """Start anew: the clock was set back."""
        self._content.clear()
        self._since_ns.clear()

    def reasons(self, time_ns: int) -> dict[str, str]:
        """Streams that have been frozen for too long, each with the text of the reason."""
        found = {}
        for name, since_ns in self._since_ns.items():
            frozen_ns = time_ns - since_ns
            if frozen_ns > self._max_frozen_ns:
                limit_ms = self._max_frozen_ns / 1e6
                found[name] = f'frozen: the same image for {frozen_ns / 1e6:.0f} ms (limit {limit_ms:g} ms)'
        return found
