"""The exception tree. Wrong input raises one of these; a broken invariant is an assert.

RedlineError
|-- ConfigError            a switch, option or environment variable is out of range or unknown
|-- RequestError           one request is wrong; others are not affected (has .param)
|   `-- ContextLengthError the prompt, or prompt plus max_tokens, does not fit the context
|-- ModelError             a model cannot be used
|   |-- ModelNotFound      no such alias, path or repository
|   |-- ModelFileError     a file is truncated, corrupt or inconsistent with itself
|   `-- UnsupportedModel   a well-formed model needs something Redline does not implement
|-- CapacityError          the work cannot fit the memory that was asked for
|   `-- QueueFull          too much work is waiting; try again later
|-- DownloadError          a pull failed; what was fetched so far is kept
|-- KernelError            an op was called with arrays that it does not accept
`-- EngineDead             the engine stopped after an internal failure

Every message says what was got, what was expected, and what to do.
"""


class RedlineError(Exception):
    """Base of every error that a user can cause or repair."""


class ConfigError(RedlineError):
    """A switch, option or environment variable is unknown or out of range."""


class RequestError(RedlineError):
    """One request is wrong. `param` names the offending field, where there is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthError(RequestError):
    """The prompt, or the prompt plus the tokens asked for, exceeds the context.

    `num_prompt_tokens` and `max_context` are None where the prompt was too long to be counted.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        num_prompt_tokens: int | None = None,
        max_tokens: int | None = None,
        max_context: int | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.num_prompt_tokens = num_prompt_tokens
        self.max_tokens = max_tokens
        self.max_context = max_context


class ModelError(RedlineError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """No such alias, path or repository."""


class ModelFileError(ModelError):
    """A model file is truncated, corrupt or contradicts itself."""


class UnsupportedModel(ModelError):
    """A well-formed model needs something that Redline does not implement."""


class CapacityError(RedlineError):
    """The work cannot fit the memory that was asked for."""


class QueueFull(CapacityError):
    """Too much work is waiting already."""


class DownloadError(RedlineError):
    """A download failed; what arrived is kept and the next try resumes."""


class KernelError(RedlineError):
    """An op got arrays whose dtype, shape or layout it does not accept."""


class EngineDead(RedlineError):
    """The engine stopped after an internal failure and takes no more work."""
