"""
What the HTTP front costs per request: uvicorn with a bare ASGI app against the gateway's own protocol.

    python bench/http_front.py [seconds]        needs wrk

Both answer the same 200-byte reply to the same POST with a bearer key; nothing else is done, so the CPU time of the
server process divided by its requests is what the front costs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

BODY = '{"model": "reviews", "input": "房间很干净，早餐也不错，就是离地铁站有点远，下次还会再来。"}'
REPLY = b'{"model":"reviews","version":1,"digest":"sha256:%064d","data":[{"index":0,"label":"1","score":0.98}]}' % 0
LUA = f"""
wrk.method = "POST"
wrk.body = {json.dumps(BODY, ensure_ascii=False)}
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer hl_abcdefgh_0123456789012345678901234567890123456789012"
"""


def serve_uvicorn(port: int) -> None:
    """Serve with uvicorn's httptools protocol and no framework."""
    import uvicorn

    async def app(scope: dict, receive: Callable, send: Callable) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": REPLY})

    uvicorn.run(
        app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="error", lifespan="off", ws="none"
    )


def serve_own(port: int) -> None:
    """Serve with hanlin.gateway.http."""
    import uvloop

    from hanlin.gateway.http import Connections, HttpRequest, HttpResponse
    from hanlin.settings import GatewaySettings

    async def handle(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, REPLY)

    async def main() -> None:
        connections = Connections(handle, lambda error, _: HttpResponse(error.status, b""), GatewaySettings())
        server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(main())


FRONTS = {"uvicorn": serve_uvicorn, "own": serve_own}


def measure(name: str, connections: int, seconds: int) -> dict[str, float]:
    """Return requests per second and microseconds of server CPU per request of one front."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, __file__, "--serve", name, str(port)], env=os.environ)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(LUA)
            script.flush()
            process = psutil.Process(server.pid)
            before = process.cpu_times()
            command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name]
            output = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True)
            after = process.cpu_times()
        requests = int(re.search(r"(\d+) requests in", output.stdout)[1])
        spent = after.user + after.system - before.user - before.system
        return {"per_s": requests / seconds, "cpu_us": spent / requests * 1e6}
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Print one line per front, level and round, interleaved."""
    if sys.argv[1:2] == ["--serve"]:
        FRONTS[sys.argv[2]](int(sys.argv[3]))
        return
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    for connections in (1, 16, 64):
        for name in (*FRONTS, *FRONTS):
            figures = measure(name, connections, seconds)
            print(f"{connections:3d} connections  {name:8s} {figures['per_s']:8.0f}/s  {figures['cpu_us']:6.1f} us CPU")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
    main()
