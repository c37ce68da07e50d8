"""What can happen to a world under siege, and how a seed makes a script of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving import failpoints
from serving.errors import HcctlError
from tests.support.lying_site import LIES, REFUSALS

if TYPE_CHECKING:
    from tests.support.siege import Siege

IN_DAEMON = ("store.before-commit", "store.after-commit", "daemon.after-journal", "daemon.after-call")
SITES = ("private", "cloud")


class Crash(BaseException):
    """A process is gone, the daemon or a command: nothing catches it."""


@dataclass(frozen=True)
class Happening:
    """Something done to the world; then so much time passes."""

    kind: str
    site: str
    number: int
    lasts_s: float

    def befall(self, siege: Siege) -> None:
        """Do it. A command that the daemon's state refuses has no effect; one may run into a crash that waits."""
        try:
            KINDS[self.kind](siege, self)
        except HcctlError:
            return
        except Crash:
            siege.crashes += 1


def script(seed: int) -> list[Happening]:
    """5 to 14 happenings; the same for the same seed."""
    chance = random.Random(seed)
    kinds = list(KINDS)
    return [
        Happening(chance.choice(kinds), chance.choice(SITES), chance.randrange(1_000), chance.choice([1, 3, 8, 20, 45]))
        for _ in range(chance.randint(5, 14))
    ]


def _load(siege: Siege, what: Happening) -> None:
    siege.rate_rps = (0.0, 5.0, 40.0, 90.0, 150.0, 260.0)[what.number % 6]


def _deploy(siege: Siege, what: Happening) -> None:
    siege.deploy(f"v{what.number % 5}")


def _deploy_bad(siege: Siege, what: Happening) -> None:
    name, fault = f"bad{what.number}", ("load", "probe", "err")[what.number % 3]
    siege.bad[name] = fault
    if fault == "load":
        for site in siege.sites.values():
            site.load_failures[name] = "cannot be loaded"
    siege.deploy(name)


def _abort(siege: Siege, _: Happening) -> None:
    if siege.deployments:
        body = {"deployment": f"d{siege.deployments}"}
        siege.store.put_intent("abort", "shop", body, expected_revision=None, at_s=siege.daemon_clock())


def _hold(siege: Siege, what: Happening) -> None:
    body = {
        "replicas": {what.site: what.number % 4 + (what.site == "private")},
        "until_s": siege.daemon_clock() + 60.0,
        "reason": "by hand",
    }
    siege.store.put_intent("hold", "shop", body, expected_revision=None, at_s=siege.daemon_clock())


def _pause(siege: Siege, what: Happening) -> None:
    body = {"paused": what.number % 2 == 0, "reason": "by hand"}
    siege.store.put_intent("control", "autoscaler", body, expected_revision=None, at_s=siege.daemon_clock())


def _cap(siege: Siege, what: Happening) -> None:
    cap = (0.02, 0.06, 0.2, 1.0)[what.number % 4]
    siege.spec = siege.spec.model_copy(update={"budget": siege.spec.budget.model_copy(update={"usd_per_hour": cap})})
    siege.deploy(siege.good)


def _remove(siege: Siege, _: Happening) -> None:
    if siege.store.intent("service", "shop"):
        siege.write({"remove": True})


def crash_at(name: str, passes: int) -> Callable[[], int]:
    """Let the daemon die at the so-manieth pass of a place; returns how to ask how often it was passed."""
    passed = 0

    def die() -> None:
        nonlocal passed
        passed += 1
        if passed == passes:
            raise Crash

    failpoints.arm(name, die)
    return lambda: passed


def _crash(_: Siege, what: Happening) -> None:
    crash_at(IN_DAEMON[what.number % len(IN_DAEMON)], what.number % 17 + 1)


def _command_dies(siege: Siege, what: Happening) -> None:
    """A command is killed around its write: what it was told to do stands or does not, and nothing in between."""

    crash_at(("store.before-commit", "store.after-commit")[what.number % 2], 1)
    siege.deploy(f"v{what.number % 5}")
    failpoints.disarm()


def _down(siege: Siege, what: Happening) -> None:
    """The daemon is stopped for some time (SIGSTOP): it wakes with what it knew."""
    siege.away_until_s = siege.clock() + (2.0, 10.0, 40.0)[what.number % 3]


def _lie(siege: Siege, what: Happening) -> None:
    siege.sites[what.site].lie = LIES[what.number % len(LIES)]


def _refuse(siege: Siege, what: Happening) -> None:
    siege.sites[what.site].refusal = REFUSALS[what.number % len(REFUSALS)]


def _half(siege: Siege, what: Happening) -> None:
    siege.sites[what.site].half = True


def _heal(siege: Siege, what: Happening) -> None:
    siege.sites[what.site].heal()
    siege.executor.delay_s = 0.0


def _slow(siege: Siege, what: Happening) -> None:
    siege.executor.delay_s = (1.0, 4.0, 15.0)[what.number % 3]


def _site_dies(siege: Siege, what: Happening) -> None:
    siege.sites[what.site].crash()


def _replica_dies(siege: Siege, what: Happening) -> None:
    ready = [s.name for s in siege.sites[what.site].truth().applications or () if s.replicas_ready]
    if ready:
        siege.sites[what.site].kill_replica(ready[what.number % len(ready)])


def _gateway(siege: Siege, _: Happening) -> None:
    siege.gateway.running = not siege.gateway.running


def _deaf(siege: Siege, _: Happening) -> None:
    siege.gateway.deaf = not siege.gateway.deaf


def _lines(siege: Siege, what: Happening) -> None:
    siege.lost_lines = (0.0, 0.3, 1.0)[what.number % 3]
    siege.late_lines_s = (0.0, 3.0, 12.0)[what.number // 3 % 3]


def _clock(siege: Siege, what: Happening) -> None:
    siege.skewed = True
    siege.skew_s += (-3_700.0, -30.0, -2.0, 2.0, 30.0, 3_700.0)[what.number % 6]


KINDS: dict[str, Callable[[Siege, Happening], None]] = {
    "load": _load,
    "more load": _load,
    "deploy": _deploy,
    "deploy again": _deploy,
    "deploy bad": _deploy_bad,
    "abort": _abort,
    "hold": _hold,
    "pause": _pause,
    "cap": _cap,
    "remove": _remove,
    "crash": _crash,
    "crash again": _crash,
    "command dies": _command_dies,
    "stopped": _down,
    "lie": _lie,
    "refuse": _refuse,
    "half": _half,
    "heal": _heal,
    "heal again": _heal,
    "slow": _slow,
    "site dies": _site_dies,
    "replica dies": _replica_dies,
    "gateway": _gateway,
    "gateway deaf": _deaf,
    "log lines": _lines,
    "clock": _clock,
}
