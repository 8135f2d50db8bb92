"""The verdicts of a run, as `JobAttempted` carries them: `isinstance(event.verdict, verdicts.Release)`.

`laraq.Release`, in contrast, is the middleware.
"""

from laraq.messages.delivery import Done, Fail, Release, Superseded, Verdict

__all__ = ["Done", "Fail", "Release", "Superseded", "Verdict"]
