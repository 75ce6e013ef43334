"""How the champion's errors come: one by one, or several of one cause.

Comes in: requests and errors of the champion, window by window. Goes out: how many errors one cause makes, as
far as its windows tell. The tests of Pass count errors; where five come together they know a fifth of what
they would of as many that come one by one. Invariant: at least 1, so that nothing passes sooner by it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overdispersion:
    """What the champion's windows were like: those with requests and their `requests`, the `noisy` ones, with
    errors, and their `errors`; `squares` sums errors² / requests.
    """

    windows: int = 0
    requests: int = 0
    noisy: int = 0
    errors: int = 0
    squares: float = 0.0

    def plus(self, requests: int, errors: int) -> Overdispersion:
        """With one more window."""
        if not requests:
            return self
        return Overdispersion(
            windows=self.windows + 1,
            requests=self.requests + requests,
            noisy=self.noisy + (errors > 0),
            errors=self.errors + errors,
            squares=self.squares + errors * errors / requests,
        )

    @property
    def usual(self) -> float:
        """Errors of a window that has some, in the mean; 0 before the first."""
        return self.errors / self.noisy if self.noisy else 0.0

    @property
    def per_cause(self) -> float:
        """Errors of one cause. A window with some has those of one cause at least; where there is much
        traffic it has many causes, but then windows vary no more than independent errors do.
        """
        return max(1.0, min(self.usual, self.dispersion))

    @property
    def dispersion(self) -> float:
        """Pearson's: how many times as much windows vary as those of independent errors, for which it is 1
        (McCullagh and Nelder 1989, 4.5). One window does not vary: its errors may all be of one cause.
        """
        successes = self.requests - self.errors
        if not self.errors or not successes:
            return 1.0
        if self.windows == 1:
            return float(self.errors)
        excess = self.squares * self.requests / self.errors - self.errors
        return excess * self.requests / successes / (self.windows - 1)
