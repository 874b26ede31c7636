"""Everything Greenlane raises on purpose.

    GreenlaneError
    ├── InputError            the caller sent something we cannot use (4xx)
    │   ├── PanNotAccepted    the body carries what looks like a card number or a security code
    │   ├── NotFound          the thing named does not exist
    │   ├── Conflict          the same key was used before with another body
    │   └── LimitExceeded     larger, longer or faster than the stated limit
    ├── FeatureError          a feature definition cannot be used
    ├── JournalError          the journal cannot be opened, read or written
    ├── TimedOut              something that was waited for took too long (503)
    ├── ModelRefused          an artefact does not reproduce what it promises, so it is not loaded
    ├── TrainingError         a training set, fit or evaluation cannot be made from this data
    └── SettingsError         the data directory or its settings are wrong

Each error says what was wrong and where, and carries a hint for the person who reads it.
"""


class GreenlaneError(Exception):
    """An error with a stable machine-readable `code`, the `param` (path) it is about and a `hint`.

    >>> error = InputError("amount must be positive", code="invalid_amount", param="$.payment.amount", hint="cents")
    >>> error.code, error.param
    ('invalid_amount', '$.payment.amount')
    """

    code = "error"
    status = 500

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.hint = hint

    def __str__(self) -> str:
        where = f" (at {self.param})" if self.param else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.message}{where}{hint}"


class InputError(GreenlaneError):
    code = "invalid_request"
    status = 422


class PanNotAccepted(InputError):
    code = "pan_not_accepted"


class NotFound(InputError):
    code = "not_found"
    status = 404


class Conflict(InputError):
    code = "idempotency_conflict"
    status = 409


class LimitExceeded(InputError):
    code = "limit_exceeded"
    status = 413


class FeatureError(GreenlaneError):
    code = "invalid_feature"


class JournalError(GreenlaneError):
    code = "journal_unavailable"
    status = 503


class TimedOut(GreenlaneError):
    code = "timed_out"
    status = 503


class ModelRefused(GreenlaneError):
    code = "model_refused"
    status = 422


class TrainingError(GreenlaneError):
    code = "training_refused"


class SettingsError(GreenlaneError):
    code = "invalid_settings"
