"""Cron lines in time zones: checked once, then a pure question of when."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from hanlin.domain import InvalidInputError


class Cron:
    """
    A cron line of five fields (minute hour day month weekday), read in a time zone as Debian's cron does.

    A fixed local time that daylight saving skips fires right after the gap, one that occurs twice fires once;
    lines with a star in minute or hour follow the elapsed time. Raises InvalidInputError (``cron_invalid``,
    ``timezone_unknown``).
    """

    def __init__(self, line: str, timezone: str) -> None:
        self._line, self._zone = line, _zone(timezone)
        if len(line.split()) != 5:
            raise _invalid(line, "a cron line has five fields")
        try:
            next(CronSim(line, datetime.now(self._zone)))
        except CronSimError as error:
            raise _invalid(line, str(error)) from None
        except StopIteration:
            raise _invalid(line, "no such day will come") from None

    def first_after(self, instant: datetime) -> datetime:
        """Return the first fire time later than *instant*, in UTC."""
        # A start within an hour that occurs twice may give the earlier of the two, which has passed.
        fires = (fire.astimezone(UTC) for fire in CronSim(self._line, instant.astimezone(self._zone)))
        return next(fire for fire in fires if fire > instant)

    def last_until(self, instant: datetime, since: datetime) -> datetime | None:
        """Return the last fire time in [*since*, *instant*], in UTC, or None; fast however long that is."""
        # Backwards misses what lies within an hour of a change of the clocks: so go back a little further, then forth.
        backwards = (fire.astimezone(UTC) for fire in CronSim(self._line, instant.astimezone(self._zone), reverse=True))
        last = next(fire for fire in backwards if fire <= instant)
        while (following := self.first_after(last)) <= instant:
            last = following
        return last if last >= since else None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError(
            f"there is no time zone {name!r}",
            code="timezone_unknown",
            hint="use a name of the IANA database, e.g. Asia/Shanghai or UTC",
            param="timezone",
        ) from None


def _invalid(line: str, why: str) -> InvalidInputError:
    hint = "write minute hour day month weekday, e.g. 0 3 * * 1-5"
    return InvalidInputError(
        f"the cron line {line!r} cannot be used: {why}", code="cron_invalid", hint=hint, param="cron"
    )
