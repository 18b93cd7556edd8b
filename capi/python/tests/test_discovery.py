"""The service in Python of the cookbook, which uses pynng: the registry of the example `service_discovery` finds it.

`SINEW_DISCOVERY` is the example, as ci/wheel has built it.
"""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLE = os.environ.get("SINEW_DISCOVERY")
COOKBOOK = pathlib.Path(__file__).parents[3] / "docs" / "cookbook" / "service_discovery.md"


@pytest.mark.skipif(not EXAMPLE, reason="SINEW_DISCOVERY is not set")
def test_the_service_of_the_cookbook_is_found_and_missed():
    import pynng

    program = COOKBOOK.read_text().split("```python\n", 1)[1].split("```", 1)[0]
    anywhere = dict.fromkeys(("SINEW_SURVEY_URL", "SINEW_RESOLVE_URL"), "tcp://127.0.0.1:0")
    registry = subprocess.Popen(
        [EXAMPLE, "daemon"], env=os.environ | anywhere, stdout=subprocess.PIPE, text=True
    )
    try:
        surveys, requests = (registry.stdout.readline().split()[-1] for _ in range(2))
        assert "tcp://127.0.0.1:7701" in program
        program = program.replace("tcp://127.0.0.1:7701", surveys)
        service = subprocess.Popen([sys.executable, "-c", program])
        try:
            await_row(registry, "joined")
            with pynng.Req0(dial=requests, recv_timeout=5000) as req:
                req.send(b"discovery/1 resolve name=parrot")
                head, service_line = req.recv().decode().splitlines()
                assert head.startswith("discovery/1 ok ") and head.endswith(" total=1")
                assert service_line.split() == ["name=parrot", "at=tcp://127.0.0.1:7788", "load=3", "+zone=eu"]
        finally:
            service.kill()
            service.wait()
        await_row(registry, "left")
    finally:
        registry.kill()
        registry.wait()


def await_row(registry, change):
    """Reads rows until the parrot has joined or left. A row that it does not expect comes with every survey."""
    rows = [registry.stdout.readline()]
    while not (change in rows[-1] and "parrot" in rows[-1]):
        assert len(rows) < 10, rows
        rows.append(registry.stdout.readline())
