"""check_tls: whether the certificate and its key can be used, said in words before the server starts."""

from __future__ import annotations

import ssl
from pathlib import Path

from redline.errors import ConfigError


def check_tls(cert: str, key: str | None) -> None:
    """Raises ConfigError when a file is missing or wrong, or the two do not belong together."""
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        if path is not None:
            _check_readable(name, path)
    load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert, key)


def load_chain(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Use the certificate for connections from now on. Raises ConfigError, and then nothing has changed."""
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(f"tls_cert {cert} and tls_key {key or cert}: {_reason(error)}") from None
    except OSError as error:
        raise ConfigError(f"cannot read tls_cert {cert} or tls_key {key}: {error.strerror}") from None
    except _Encrypted:
        raise ConfigError(f"tls_key {key or cert} is encrypted; give a key without a password") from None


class _Encrypted(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    raise _Encrypted  # or OpenSSL would ask on the terminal, and wait


def _check_readable(name: str, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise ConfigError(f"cannot read {name} {path}: {error.strerror}") from None


def _reason(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the key of this certificate"
    return "they must be PEM files of a certificate and of its key"
