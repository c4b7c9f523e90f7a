"""One clear message when something goes wrong, one when it is right again, none in between."""

from collections.abc import Callable


class Complaints:
    """What is wrong at present, by subject. Each change is told once; numbers in a text may change silently.

    A complaint's `kind` (say 'stale') decides whether it is a new one; the text may hold ages and counts.
    """

    def __init__(self, warn: Callable[[str], None], inform: Callable[[str], None]) -> None:
        self._warn = warn
        self._inform = inform
        self._standing: dict[str, tuple[str, str]] = {}

    def set(self, subject: str, kind: str, text: str) -> None:
        """`subject` is wrong in the way `kind`, or right again when `kind` is empty."""
        before = self._standing.get(subject)
        if not kind:
            if before:
                del self._standing[subject]
                self._inform(f'{subject}: right again (was: {before[1]})')
            return
        self._standing[subject] = (kind, text)
        if before is None or before[0] != kind:
            self._warn(text)

    def clear(self, subject: str) -> None:
        """`subject` is right (again)."""
        self.set(subject, '', '')

    def forget(self) -> None:
        """Start anew without a word."""
        self._standing.clear()

    @property
    def texts(self) -> list[str]:
        """All that is wrong now."""
        return [text for _, text in self._standing.values()]
