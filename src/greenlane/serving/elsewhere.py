"""Slow verbs in a process of their own, so that no decision waits for them."""

import subprocess
import sys
from typing import Final

from greenlane.errors import TimedOut

TAKES_S_MAX: Final = 120
"""So long may another process take."""


def elsewhere(*words: str) -> tuple[bytes, str]:
    """What `greenlane WORDS` says, and the end of what it complains of. TimedOut: nothing changed."""
    try:
        done = subprocess.run(  # noqa: S603 - our own verb
            [sys.executable, "-m", "greenlane", *words], capture_output=True, timeout=TAKES_S_MAX
        )
    except subprocess.TimeoutExpired as error:
        hint = f"nothing changed: ask again, or run `greenlane {' '.join(words)}` where there is more time"
        raise TimedOut(f"{' '.join(words[:2])} took more than {TAKES_S_MAX:g} s", hint=hint) from error
    return done.stdout, done.stderr.decode(errors="replace").strip()[-300:]
