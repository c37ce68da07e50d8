"""The HTTP server behind `http_site.HttpSite`: name, port (0: a free one); prints the port, serves until killed.

Standard library only, so that it starts at once. `/-/healthz` always answers 200, as an ingress
does whose application fails; `/-/behave` sets status, delay and cutting off.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class _Behaviour:
    status: int = 200
    delay_s: float = 0.0
    cut: bool = False


class _Server:
    def __init__(self, name: str) -> None:
        self.name = name
        self.how = _Behaviour()
        self.requests = self.now = self.most_at_once = 0
        self.paths: list[str] = []

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        target = first.split(" ")[1]
        path = urlsplit(target).path
        status, answer = 200, self._control(target)
        if not path.startswith("/-/"):
            self.requests += 1
            self.paths.append(target)
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
            try:
                await asyncio.sleep(self.how.delay_s)
            finally:
                self.now -= 1
            if self.how.cut:
                return False
            status = self.how.status
            answer = {"site": self.name, "target": target, "headers": headers, "body_bytes": len(body)}
        text = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text)
        await writer.drain()
        return first.endswith("HTTP/1.1")

    def _control(self, target: str) -> dict[str, Any]:
        parts = urlsplit(target)
        if parts.path == "/-/behave":
            query = {name: float(values[0]) for name, values in parse_qs(parts.query).items()}
            self.how.status = int(query.get("status", self.how.status))
            self.how.delay_s = query.get("delay_s", self.how.delay_s)
            self.how.cut = bool(query.get("cut", self.how.cut))
        return {"requests": self.requests, "most_at_once": self.most_at_once, "paths": self.paths[-1000:]}


async def _serve(name: str, port: int) -> None:
    server = await asyncio.start_server(_Server(name).connection, "127.0.0.1", port, limit=1 << 22, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
