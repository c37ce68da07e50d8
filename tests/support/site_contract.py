"""What every site must do. Subclass `SiteContract`, give it a `rig` fixture, and collect it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from serving.errors import HcctlError, SiteUnreachable
from serving.sites.site import Application, ApplicationStatus, Site, SiteObservation


@dataclass(frozen=True)
class SiteRig:
    """A site under test and what a test needs to drive it."""

    site: Site
    application: Callable[[str, int], Application]
    """A version that loads, by the name of its service and its replicas."""
    broken: Callable[[str], Application]
    """A version that does not load, failing with a text that holds `broken on purpose`."""
    wait: Callable[[Callable[[SiteObservation], bool]], SiteObservation]
    """Let time pass until the condition holds; fails the test if it never does."""
    crash: Callable[[], None]
    """Kill the processes of the site."""

    def open(self) -> None:
        """Open the site and leave nothing running on it."""
        self.site.open()
        self.wait(lambda seen: seen.phase == "open")
        self.site.apply(())
        self.wait(lambda seen: seen.applications == ())

    def known(self) -> SiteObservation:
        """The site, once it says what it runs: a busy computer may leave that unknown for a moment."""
        return self.wait(lambda seen: seen.applications is not None)

    def status(self, name: str) -> ApplicationStatus:
        """Status of one application now."""
        return next(status for status in self.known().applications or () if status.name == name)

    def wait_ready(self, name: str, replicas: int) -> None:
        """Wait until exactly so many replicas of an application are wanted and ready."""
        expected = (name, "running", replicas, replicas)
        self.wait(
            lambda seen: any(
                (status.name, status.phase, status.replicas_ready, status.replicas_target) == expected
                for status in seen.applications or ()
            )
        )


class SiteContract:
    """The rules of `serving.sites.site.Site`."""

    def test_opens_once(self, rig: SiteRig) -> None:
        """An open site has an ingress and a known, empty set of applications; opening it again is nothing."""
        rig.open()
        before = rig.known()
        rig.site.open()
        after = rig.known()
        assert (before.phase, after.phase) == ("open", "open")
        assert after.ingress == before.ingress is not None
        assert after.applications == ()

    def test_runs_exactly_what_is_applied(self, rig: SiteRig) -> None:
        """`apply` is the full set: what is missing from it goes, what is in it runs at its replica count."""
        rig.open()
        first, second = rig.application("first", 1), rig.application("second", 2)
        rig.site.apply((first,))
        rig.wait_ready(first.name, 1)
        rig.site.apply((second,))
        rig.wait_ready(second.name, 2)
        rig.wait(lambda seen: [status.name for status in seen.applications or ()] == [second.name])

    def test_applying_again_changes_nothing(self, rig: SiteRig) -> None:
        """Repeating `apply` leaves the replicas alone, and a neighbour joins without disturbing them."""
        rig.open()
        first, second = rig.application("first", 1), rig.application("second", 1)
        rig.site.apply((first,))
        rig.wait_ready(first.name, 1)
        rig.site.apply((first,))
        assert rig.status(first.name).replicas_ready == 1
        rig.site.apply((first, second))
        assert rig.status(first.name).replicas_ready == 1
        rig.wait_ready(second.name, 1)
        assert rig.status(first.name).replicas_ready == 1

    def test_scales(self, rig: SiteRig) -> None:
        """`scale` moves the target at once and the ready replicas follow, up and down."""
        rig.open()
        application = rig.application("first", 1)
        rig.site.apply((application,))
        rig.wait_ready(application.name, 1)
        rig.site.scale(application.name, 2)
        rig.wait(lambda _: rig.status(application.name).replicas_target == 2)
        rig.wait_ready(application.name, 2)
        rig.site.scale(application.name, 1)
        rig.wait_ready(application.name, 1)

    def test_scaling_what_is_not_there_is_refused(self, rig: SiteRig) -> None:
        """Scaling an unknown application is an error of the order, not of the site."""
        rig.open()
        with pytest.raises(HcctlError) as refusal:
            rig.site.scale("nobody", 1)
        assert not isinstance(refusal.value, SiteUnreachable)

    def test_broken_version_fails_alone(self, rig: SiteRig) -> None:
        """A version that does not load ends as failed, with its reason, and its neighbour serves on."""
        rig.open()
        good, broken = rig.application("first", 1), rig.broken("second")
        rig.site.apply((good, broken))
        rig.wait_ready(good.name, 1)
        rig.wait(lambda _: rig.status(broken.name).phase == "failed")
        status = rig.status(broken.name)
        assert "broken on purpose" in status.message
        assert status.replicas_ready == 0
        assert rig.status(good.name).phase == "running"

    def test_lost_and_opened_again(self, rig: SiteRig) -> None:
        """A site whose processes die is lost, obeys nothing, and `open` brings it back empty."""
        rig.open()
        rig.site.apply((rig.application("first", 1),))
        rig.crash()
        seen = rig.wait(lambda seen: seen.phase == "lost")
        assert seen.applications is None
        assert seen.ingress is None
        with pytest.raises(SiteUnreachable):
            rig.site.apply(())
        rig.site.open()
        rig.wait(lambda seen: seen.phase == "open" and seen.applications == ())

    def test_closed(self, rig: SiteRig) -> None:
        """A closed site runs nothing, obeys nothing, and closing it again is nothing."""
        rig.open()
        rig.site.close()
        rig.site.close()
        seen = rig.site.observe()
        assert (seen.phase, seen.applications, seen.ingress) == ("closed", None, None)
        with pytest.raises(SiteUnreachable):
            rig.site.apply(())
        with pytest.raises(SiteUnreachable):
            rig.site.scale("first", 1)
