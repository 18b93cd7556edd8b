"""pynng and sinewcat, each answering the other. Run by ci/pynng, in the directory of the certificates."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pynng

SINEWCAT = sys.argv[1]
TIME = 10_000  # milliseconds


def text(name):
    return Path(name).read_text()


def tls(mode, authority="ours", shows=True):
    own = dict(own_cert_string=text("own.pem"), own_key_string=text("own.key")) if shows else {}
    return pynng.TLSConfig(
        mode,
        server_name="localhost" if mode == pynng.TLSConfig.MODE_CLIENT else None,
        ca_string=text(f"{authority}.pem"),
        auth_mode=pynng.TLSConfig.AUTH_MODE_REQUIRED if shows else pynng.TLSConfig.AUTH_MODE_NONE,
        **own,
    )


def place(scheme):
    if scheme == "abstract":
        return f"abstract://sinew%00{os.getpid()}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"{scheme}://127.0.0.1:{free.getsockname()[1]}" + ("/some/path" if "ws" in scheme else "")


def sinewcat(*args):
    return subprocess.Popen([SINEWCAT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    try:
        return process.communicate(timeout=TIME / 1000)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def client(scheme):
    return tls(pynng.TLSConfig.MODE_CLIENT) if scheme in ("tls+tcp", "wss") else None


def we_bind(scheme):
    url = place(scheme)
    certificates = ["--cert", "own.pem", "--key", "own.key"] if client(scheme) else []
    process = sinewcat("--rep", "--bind", url, "-D", "of sinew", "--ascii", "--count", "1", *certificates)
    try:
        with pynng.Req0(tls_config=client(scheme), recv_timeout=TIME, send_timeout=TIME) as req:
            req.dial(url, block=False)
            req.send(b"of pynng")
            assert req.recv() == b"of sinew"
    finally:
        process.kill()
        process.wait()


def they_bind(scheme):
    url = place(scheme)
    server = tls(pynng.TLSConfig.MODE_SERVER) if client(scheme) else None
    with pynng.Rep0(tls_config=server, listen=url, recv_timeout=TIME, send_timeout=TIME) as rep:
        def answer():
            assert rep.recv() == b"of sinew"
            rep.send(b"of pynng")
        thread = threading.Thread(target=answer)
        thread.start()
        certificates = ["--cert", "own.pem", "--key", "own.key", "--cacert", "ours.pem"] if server else []
        out, err = ended(sinewcat("--req", "--connect", url, "-D", "of sinew", "--ascii", *certificates))
        thread.join()
        assert out == "of pynng\n", (out, err)


def a_stranger_is_refused(scheme):
    url = place(scheme)
    with pynng.Rep0(tls_config=tls(pynng.TLSConfig.MODE_SERVER), listen=url):
        _, err = ended(sinewcat("--req", "--dial", url, "-D", "never", "--cacert", "theirs.pem"))
        assert "authority" in err, err
        # It wants our certificate, too.
        _, err = ended(sinewcat("--req", "--dial", url, "-D", "never", "--cacert", "ours.pem"))
        assert err, "it is told"
    process = sinewcat("--rep", "--bind", url, "-D", "never", "--cert", "own.pem", "--key", "own.key")
    try:
        stranger = tls(pynng.TLSConfig.MODE_CLIENT, authority="theirs")
        with pynng.Req0(tls_config=stranger, recv_timeout=1000, send_timeout=1000) as req:
            req.dial(url, block=False)
            try:
                req.send(b"never")
                req.recv()
            except pynng.Timeout:
                pass
            else:
                raise AssertionError("pynng talks to a stranger")
    finally:
        process.kill()
        process.wait()


for scheme in ("tls+tcp", "wss", "ws", "abstract"):
    for check in (we_bind, they_bind):
        check(scheme)
        print("ok", check.__name__, scheme, flush=True)
for scheme in ("tls+tcp", "wss"):
    a_stranger_is_refused(scheme)
    print("ok", "a_stranger_is_refused", scheme, flush=True)
