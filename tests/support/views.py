"""Views for autoscaler tests: flat histories, and a service under constant load that answers to a peer."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscaler.simulation.peers import Peer
from autoscaler.simulation.view import View


def view(
    *,
    now_s: int = 600,
    arrivals: float = 0.0,
    ongoing: float = 0.0,
    in_slots: float = 0.0,
    ready: int = 1,
    asked: int | None = None,
    slots: int = 2,
    service_s: float = 0.4,
    late_s: int = 0,
) -> View:
    """The same in every second so far; the last `late_s` seconds are not known yet."""
    known_s = now_s - late_s
    return View(
        now_s=now_s,
        arrivals=np.full(known_s, arrivals),
        ongoing=np.full(known_s, ongoing),
        in_slots=np.full(known_s, in_slots),
        ready=np.full(known_s, ready, dtype=np.int64),
        asked=ready if asked is None else asked,
        slots_per_replica=slots,
        service_s=service_s,
    )


def under_constant_load(peer: Peer[Any], *, rate_rps: float, replicas: int, lead_s: int, seconds: int) -> list[int]:
    """What a peer wants in each second, from `replicas` ready: a fluid without noise, 2 slots of 0.4 s each.

    A replica asked for is ready `lead_s` later; one given up is gone at once, the youngest first.
    """
    slots, service_s = 2, 0.4
    arrivals = np.full(seconds, rate_rps)
    ongoing, in_slots, ready = np.zeros(seconds), np.zeros(seconds), np.zeros(seconds, dtype=np.int64)
    ready_at = [0] * replicas
    queue, state, wanted = 0.0, peer.start(), []
    for now_s in range(seconds):
        ready[now_s] = sum(at_s <= now_s for at_s in ready_at)
        most_rps = ready[now_s] * slots / service_s
        served_rps = min(most_rps, rate_rps + queue)
        queue += rate_rps - served_rps
        in_slots[now_s] = served_rps * service_s
        ongoing[now_s] = in_slots[now_s] + queue
        if now_s > 0 and now_s % peer.tick_s == 0:
            seen = View(
                now_s,
                arrivals[:now_s],
                ongoing[:now_s],
                in_slots[:now_s],
                ready[:now_s],
                len(ready_at),
                slots,
                service_s,
            )
            target, state = peer.decide(seen, state)
            ready_at = ready_at[:target] + [now_s + lead_s] * (target - len(ready_at))
        wanted.append(len(ready_at))
    return wanted
