"""TLS: the server speaks it, explains what is wrong with its files, and renews them while it runs."""

import logging
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest

from redline.errors import ConfigError
from redline.server.config import ServerConfig
from redline.server.draining import DrainingServer
from redline.server.listening import warn_of_exposure
from tests.server.running_server import RunningServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")


def make(folder, name, *options):
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [*command, *(options or ["-nodes"]), *subject, "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return str(cert), str(key)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    return folder, make(folder, "first"), make(folder, "second")


def status(server, cert):
    context = ssl.create_default_context(cafile=cert)
    with urllib.request.urlopen(f"{server.url}/health", context=context, timeout=20) as answer:
        return answer.status


def test_the_server_speaks_tls(files):
    _, (cert, key), (other, _) = files
    with RunningServer(tls_cert=cert, tls_key=key) as server:
        assert server.url.startswith("https://")
        assert status(server, cert) == 200
        with pytest.raises(OSError, match="certificate verify failed"):
            status(server, other)
        with server.connect() as connection:  # plain HTTP is not answered
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not connection.recv(100).startswith(b"HTTP")
        assert status(server, cert) == 200


def test_one_file_may_hold_both(files, tmp_path):
    _, (cert, key), _ = files
    both = tmp_path / "both.pem"
    both.write_bytes(Path(key).read_bytes() + Path(cert).read_bytes())
    with RunningServer(tls_cert=str(both)) as server:
        assert status(server, cert) == 200


def test_a_renewed_certificate_is_read_again(files, tmp_path, caplog):
    _, first, second = files
    cert, key = str(tmp_path / "cert"), str(tmp_path / "key")

    def install(pair):
        shutil.copy(pair[0], cert)
        shutil.copy(pair[1], key)

    install(first)
    with RunningServer(tls_cert=cert, tls_key=key) as server:
        assert status(server, first[0]) == 200
        install(second)
        server.server.reload()
        assert status(server, second[0]) == 200
        shutil.copy(first[1], key)
        server.server.reload()
        assert "the certificate stays as it was" in caplog.text
        assert status(server, second[0]) == 200


def test_what_is_wrong_with_the_files_is_explained(files):
    folder, (cert, key), (other_cert, other_key) = files
    encrypted = make(folder, "encrypted", "-passout", "pass:secret")
    (folder / "text").write_text("hello")
    for pair, problem in [
        ((str(folder / "none"), key), "cannot read tls_cert .*none: No such file"),
        ((cert, str(folder / "none")), "cannot read tls_key .*none: No such file"),
        ((str(folder), key), "cannot read tls_cert .*directory"),
        ((cert, other_key), "the key is not the key of this certificate"),
        ((cert, None), "they must be PEM files"),
        ((str(folder / "text"), key), "they must be PEM files"),
        ((cert, str(folder / "text")), "they must be PEM files"),
        (encrypted, "is encrypted"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            DrainingServer(None, ServerConfig(tls_cert=pair[0], tls_key=pair[1]))
    with pytest.raises(ConfigError, match="tls_key is given without tls_cert"):
        ServerConfig(tls_key=key)


@pytest.mark.parametrize(
    "options, warnings",
    [
        ({}, 0),
        ({"host": "localhost"}, 0),
        ({"host": "::1"}, 0),
        ({"host": "127.5.0.1"}, 0),
        ({"host": "0.0.0.0"}, 2),
        ({"host": "::"}, 2),
        ({"host": "gpu.lan"}, 2),
        ({"host": "0.0.0.0", "api_keys": ("sk-some-key",)}, 1),
        ({"host": "0.0.0.0", "tls_cert": "cert"}, 1),
        ({"host": "0.0.0.0", "tls_cert": "cert", "api_keys_file": "keys"}, 0),
    ],
)
def test_what_others_can_reach_is_warned_of(options, warnings, caplog):
    warn_of_exposure(ServerConfig(**options))
    assert len(caplog.records) == warnings
    assert all(record.levelno == logging.WARNING for record in caplog.records)
