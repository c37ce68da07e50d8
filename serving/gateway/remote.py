"""A gateway that runs elsewhere, through its agent: mutual TLS, a few paths, nothing else. See `agent.py`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import TypeAdapter, ValidationError

from serving.errors import GatewayUnreachable, HcctlError, InvalidInput
from serving.gateway.gateway import GatewayObservation
from serving.gateway.routes import Routes

ROUTES = TypeAdapter(Routes)
OBSERVATION = TypeAdapter(GatewayObservation)
NAME = "hcctl-gateway"
"""What the certificate of every agent is for; addresses come and go."""
ANSWER_TIMEOUT_S = 4.0
LONGEST_LINES_BYTES = 64 << 20


@dataclass(frozen=True)
class Certificates:
    """A folder as Kubernetes mounts a Secret of kind kubernetes.io/tls: tls.crt, tls.key, ca.crt."""

    folder: Path

    def context(self, *, server: bool) -> ssl.SSLContext:
        """TLS in which both sides show a certificate of this authority, and no other is trusted.

        Raises:
            InvalidInput: a file is missing or unusable.
        """
        try:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
            made.minimum_version = ssl.TLSVersion.TLSv1_3
            made.load_verify_locations(self.folder / "ca.crt")
            made.load_cert_chain(self.folder / "tls.crt", self.folder / "tls.key")
            made.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                "a certificate cannot be used",
                where=str(self.folder),
                why=str(error)[:200],
                next_step="mount a secret with tls.crt, tls.key and ca.crt there",
            ) from error
        return made


@dataclass(frozen=True)
class Lines:
    """Log lines of a gateway."""

    lines: list[bytes]
    mark: str
    """Where they end; given back with the next question, which says that these have arrived."""
    lost: int
    """Lines that nobody fetched in time."""


class RemoteGateway:
    """See `serving.gateway.gateway.Gateway`. Thread-safe.

    Args:
        host: address of the agent.
        port: its control port.
        certificates: of this side.
    """

    def __init__(self, host: str, port: int, certificates: Certificates) -> None:
        self._url = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._client = httpx.Client(
            verify=certificates.context(server=False),
            trust_env=False,
            timeout=ANSWER_TIMEOUT_S,
            limits=httpx.Limits(max_connections=4, keepalive_expiry=30.0),
        )

    def assert_routes(self, routes: Routes) -> None:
        """See `Gateway`."""
        answer = self._ask("PUT", "/routes", content=ROUTES.dump_json(routes, by_alias=True))
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            raise HcctlError("a gateway refuses its routes", where=self._url, why=answer.text[:300])
        self._expect(answer)

    def observe(self) -> GatewayObservation:
        """See `Gateway`."""
        answer = self._expect(self._ask("GET", "/observation"))
        try:
            return OBSERVATION.validate_json(answer.content)
        except ValidationError as error:
            raise self._unreachable(f"its answer cannot be read: {error.errors()[0]['msg'][:120]}") from None

    def lines(self, mark: str, wait_s: float) -> Lines:
        """Log lines after `mark` (empty: all that are kept); waits until there are some, or the time is over.

        Raises:
            GatewayUnreachable: it does not answer.
        """
        question = {"after": mark, "wait_s": f"{wait_s:g}"}
        timeout = ANSWER_TIMEOUT_S + wait_s
        answer = self._expect(self._ask("GET", "/lines", params=question, timeout=timeout))
        lost = answer.headers.get("X-Lost", "")
        if not lost.isdigit() or len(lost) > 15 or len(answer.content) > LONGEST_LINES_BYTES:
            raise self._unreachable("its lines cannot be read")
        return Lines(answer.content.split(b"\n")[:-1], answer.headers.get("X-Mark", ""), int(lost))

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def _ask(self, method: str, path: str, **more: object) -> httpx.Response:
        with self._as_unreachable():
            # The certificate is for a name that all gateways share; the connection goes to an address.
            extensions = {"sni_hostname": NAME}
            return self._client.request(method, self._url + path, extensions=extensions, **more)  # type: ignore[arg-type]
        raise AssertionError("it returns or raises")

    @contextmanager
    def _as_unreachable(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise self._unreachable(f"{type(error).__name__}: {error}"[:200]) from error

    def _expect(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code != httpx.codes.OK:
            raise self._unreachable(f"status {answer.status_code}: {answer.text[:200]}")
        return answer

    def _unreachable(self, why: str) -> GatewayUnreachable:
        return GatewayUnreachable(
            "A gateway does not answer", where=self._url, why=why, next_step="see the log of its pod"
        )


def addresses(name: str, port: int) -> list[str]:
    """Addresses behind the name of a headless Service.

    Raises:
        GatewayUnreachable: nobody knows the name now.
    """
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise GatewayUnreachable("The gateways cannot be listed", where=name, why=str(error)) from error
    return sorted({str(address[0]) for *_, address in found})
