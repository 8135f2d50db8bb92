"""The verdicts of a run, as `JobAttempted` tells them: `isinstance(event.verdict, verdicts.Release)`.

`laraq.Release` is the middleware.
"""

from laraq.messages.delivery import Done, Fail, Release, Superseded, Verdict

__all__ = ["Done", "Fail", "Release", "Superseded", "Verdict"]
