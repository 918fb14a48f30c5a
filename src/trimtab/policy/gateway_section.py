"""The sections `serving` and `console` of trimtab.yaml: gateway, prediction log, pages and control API."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trimtab import units
from trimtab.policy.section import Section
from trimtab.policy.values import Bytes, Duration


class Log(Section):
    """The prediction log."""

    durability: Literal["acknowledged", "interval"] = "acknowledged"
    """acknowledged: an answer leaves when its row would survive the death of the machine (requests share one disk
    flush); interval: when it would survive the death of the process, with a flush every `interval`."""
    interval: Duration = units.MICROS["s"]
    """Time between two flushes."""
    when_full: Literal["serve", "refuse"] = "serve"
    """When rows cannot be written: serve and record the gap, or refuse to answer."""
    segment_rows: int = Field(default=100_000, gt=0)
    """Rows after which a new segment begins."""
    segment_age: Duration = units.MICROS["h"]
    """Time after which a new segment begins."""
    retention: Duration = 400 * units.MICROS["d"]
    """How long rows are kept."""


class Tls(Section):
    """Files for encrypted connections."""

    certificate: str
    """PEM file with the certificate and its chain."""
    key: str
    """PEM file with the private key."""
    client_ca: str | None = None
    """PEM file with the authorities whose certificates clients must show (mTLS); left out, clients show none."""


class Serving(Section):
    """The gateway."""

    host: str = "127.0.0.1"
    """Address that it listens on; one that other machines can reach needs `authentication: tokens`."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port that it listens on; 0 takes a free one."""
    grpc_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the gRPC service (8081 is usual; 0 takes a free one); left out, there is none."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that answer."""
    authentication: Literal["none", "tokens"] = "none"
    """Whether callers must bring a bearer token (trimtab token create)."""
    tls: Tls | None = None
    """Left out, connections are not encrypted."""
    allowed_hosts: list[str] = []
    """Host names, in addition to those of this machine, that requests may be sent to, such as a proxy's
    `gateway.example.com`, or `*.example.com`; `*` allows any. Left out, a gateway that asks for tokens takes any,
    another one this machine's."""
    allowed_origins: list[str] = []
    """Sites whose pages may send requests from browsers, such as `https://app.example.com`; `*` allows any. Left out,
    pages of other sites are refused where no token is asked for."""
    max_body: Bytes = 16 * 2**20
    """Largest request body."""
    max_rows: int = Field(default=100_000, gt=0)
    """Most rows that one request may bring."""
    max_waiting_rows: int = Field(default=20_000, gt=0)
    """With so many rows waiting in a worker, further requests are refused for now (503). Requests of more than
    1,024 rows count apart: two of `max_rows` are taken at once."""
    timeout: Duration = 30 * units.MICROS["s"]
    """A request that takes longer is answered with 504."""
    drain: Duration = 10 * units.MICROS["s"]
    """Time that requests under way get when the gateway stops."""
    drain_delay: Duration | None = None
    """Time for which a stopping gateway continues to serve while it reports not ready, so that load balancers stop
    sending requests; null: none."""
    load_timeout: Duration = 180 * units.MICROS["s"]
    """A bundle that takes longer to be opened and warm is refused; the model before continues to serve."""
    checks: Literal["warn", "refuse", "off"] = "warn"
    """What becomes of rows whose request columns are not as the checks of the source, or the training rows, have them:
    they are answered and counted, refused with the row and the column (400), or not looked at."""
    log: Log = Log()
    """The prediction log."""
    trust: list[str] = []
    """What may be loaded beyond graphs and files of the models' own libraries: `project` for pickles that a run of this
    project made, `pyfunc` for MLflow models that hold pickles of anyone, and names of Python types that skops files may
    hold. Pickles run in a process of their own."""
    signed_by: str | None = None
    """PEM file with the public key that bundles must be signed with; left out, signatures are not asked for."""


class Console(Section):
    """The console: the pages of the loop, and the control API."""

    host: str = "127.0.0.1"
    """Address that it listens on; one that other machines can reach needs `authentication: tokens`."""
    port: int = Field(default=8090, ge=0, le=65535)
    """Port that it listens on; 0 takes a free one."""
    authentication: Literal["none", "tokens"] = "none"
    """Whether people must sign in with a token that has a role (trimtab token create NAME --role approver). Without,
    a person at this machine may do everything."""
    session: Duration = 12 * units.MICROS["h"]
    """So long a sign-in lasts."""
    url: str | None = None
    """Address by which people reach it, such as `https://trimtab.example.com`, for links in messages; left out, that of
    this machine."""
    allowed_hosts: list[str] = []
    """Host names, in addition to those of this machine, that requests may be sent to; that of `url` is among them."""
