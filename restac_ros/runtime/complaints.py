"""Logs each fault when it begins and when it has ended."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

SETTLE_NS = 1_000_000_000


class Complaint(NamedTuple):
    """A fault of a subject.

    `kind`, such as 'stale', decides whether the fault is new; `found` may hold ages and counts; `remedy` is
    logged once for all faults that share it.
    """

    kind: str
    found: str
    remedy: str = ''

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f'{self.found}; {self.remedy}' if self.remedy else self.found


@dataclass
class _Standing:
    complaint: Complaint
    right_since_ns: int | None = None


class Complaints:
    """Present faults by subject; each is logged when its kind changes.

    The end of a fault is logged after a second, so that a flickering fault is one message.
    """

    def __init__(
        self,
        warn: Callable[[str], None],
        inform: Callable[[str], None],
        steady_ns: Callable[[], int],
    ) -> None:
        self._warn = warn
        self._inform = inform
        self._steady_ns = steady_ns
        self._standing: dict[str, _Standing] = {}

    def set(self, subject: str, kind: str, text: str) -> None:
        """Set the fault of a subject; an empty `kind` ends it."""
        if kind:
            self._warn_of_new(self._news({subject: Complaint(kind, text)}))
        elif subject in self._standing:
            self._settle(subject)

    def clear(self, subject: str) -> None:
        """End the fault of a subject."""
        self.set(subject, '', '')

    def update(self, found: Mapping[str, Complaint]) -> None:
        """Set all present faults by subject, and end all others. New ones are one message per remedy."""
        for subject in [subject for subject in self._standing if subject not in found]:
            self._settle(subject)
        self._warn_of_new(self._news(found))

    def forget(self) -> None:
        """Forget all faults without a message."""
        self._standing.clear()

    @property
    def texts(self) -> list[str]:
        """Texts of all present faults."""
        current = [standing for standing in self._standing.values() if standing.right_since_ns is None]
        return [standing.complaint.text for standing in current]

    def _news(self, found: Mapping[str, Complaint]) -> list[Complaint]:
        """Store faults; return those that are new."""
        news = []
        for subject, complaint in found.items():
            before = self._standing.get(subject)
            if before is None or before.complaint.kind != complaint.kind:
                news.append(complaint)
            self._standing[subject] = _Standing(complaint)
        return news

    def _warn_of_new(self, news: Iterable[Complaint]) -> None:
        by_remedy: dict[str, list[str]] = {}
        for complaint in news:
            by_remedy.setdefault(complaint.remedy, []).append(complaint.found)
        for remedy, found in by_remedy.items():
            self._warn(Complaint('', ', '.join(found), remedy).text)

    def _settle(self, subject: str) -> None:
        now_ns, standing = self._steady_ns(), self._standing[subject]
        if standing.right_since_ns is None:
            standing.right_since_ns = now_ns
        elif now_ns - standing.right_since_ns >= SETTLE_NS:
            del self._standing[subject]
            self._inform(f'{subject}: right again')
