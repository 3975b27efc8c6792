"""Starts one gateway before a provider, says where it listens, and stays until its input ends.

    serve.py NAME PROVIDER_BASE_URL PORT FOLDER PACKAGES [--cache]

FOLDER is where the gateway may write, PACKAGES where npm has put its own (`node_modules`). The line of JSON that is
printed: {"version", "url", "model", "headers"}; a caller adds `authorization: Bearer <tenant>` of its own. With
--cache a gateway whose cache needs no further server has it on, as its documentation turns it on.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

MODEL = "gpt-4o-mini"

LITELLM = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "{provider}", api_key: none}}
litellm_settings: {{cache: {cache}, cache_params: {{type: local}}, telemetry: false}}
general_settings: {{custom_auth: tenants.known, custom_auth_run_common_checks: true}}
"""

# Two tenants are two teams, each with a key of its own.
LITELLM_TENANTS = """
from litellm.proxy._types import UserAPIKeyAuth

async def known(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, team_id="team-" + api_key, max_budget=1000.0, rpm_limit=10_000_000)
"""

TENSORZERO = """
[gateway]
observability.enabled = false

[models."{model}"]
routing = ["double"]

[models."{model}".providers.double]
type = "openai"
model_name = "{model}"
api_base = "{provider}/"
api_key_location = "none"
"""


def wait_for(port, child=None):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if child is not None and child.poll() is not None:
            sys.exit(f"it ended with {child.returncode}: see {Path.cwd()}/gateway.log")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("it does not listen after 90 s")


def spawn(command, **environment):
    log = open("gateway.log", "w")
    return subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def litellm(provider, port, packages, cache):
    Path("config.yaml").write_text(LITELLM.format(model=MODEL, provider=provider, cache=str(cache).lower()))
    Path("tenants.py").write_text(LITELLM_TENANTS)
    program = str(Path(sys.executable).with_name("litellm"))
    command = [program, "--config", "config.yaml", "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    child = spawn(command, LITELLM_MASTER_KEY="sk-" + secrets.token_urlsafe(24), **settings)
    wait_for(port, child)
    return child, {"version": version("litellm"), "url": f"http://127.0.0.1:{port}/v1", "model": MODEL, "headers": {}}


def tensorzero(provider, port, packages, cache):
    import tensorzero as package

    Path("tensorzero.toml").write_text(TENSORZERO.format(model=MODEL, provider=provider))
    settings = {"config_file": "tensorzero.toml", "clickhouse_url": None, "postgres_url": None, "valkey_url": None}
    gateway = package._start_http_gateway(**settings, async_setup=False)
    name = f"tensorzero::model_name::{MODEL}"
    url = gateway.base_url.rstrip("/")
    return gateway, {"version": version("tensorzero"), "url": url, "model": name, "headers": {}}


def portkey(provider, port, packages, cache):
    package = Path(packages) / "node_modules/@portkey-ai/gateway"
    number = json.loads((package / "package.json").read_text())["version"]
    child = spawn(["node", str(package / "build/start-server.js"), "--headless", f"--port={port}"])
    wait_for(port, child)
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": provider}
    return child, {"version": number, "url": f"http://127.0.0.1:{port}/v1", "model": MODEL, "headers": headers}


STARTS = {"litellm": litellm, "tensorzero": tensorzero, "portkey": portkey}


def main():
    name, provider, port, folder, packages, *cache = sys.argv[1:]
    os.chdir(folder)
    running, told = STARTS[name](provider, int(port), packages, cache == ["--cache"])
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    if isinstance(running, subprocess.Popen):
        running.terminate()
        running.wait()


main()
