"""Clock changes: every result against a walk over all minutes."""
import unittest
from datetime import datetime, timedelta, timezone

import dateutil.tz
import pytz
from croniter import croniter, croniter_range

try:
    from zoneinfo import ZoneInfo
except ImportError:
    ZoneInfo = dateutil.tz.gettz

MAKERS = {"zoneinfo": ZoneInfo, "dateutil": dateutil.tz.gettz, "pytz": pytz.timezone}
EXPRESSIONS = [
    "0 2 * * *", "30 2 * * *", "0 3 * * *", "*/20 * * * *", "0 */3 * * *", "0 */2 * * *", "15 1-4 * * *", "0 0 * * *",
    "0,30 2,3 * * *", "0 12 * * *", "59 23 * * *", "30 */1 * * *",
]
CHANGES = [
    ("Europe/Paris", datetime(2024, 3, 31)),
    ("Europe/Paris", datetime(2024, 10, 27)),
    ("Australia/Lord_Howe", datetime(2024, 4, 6)),
    ("Australia/Lord_Howe", datetime(2024, 10, 5)),
    ("America/Sao_Paulo", datetime(2018, 2, 18)),
    ("America/Sao_Paulo", datetime(2018, 11, 4)),
]


def at(moment, zone):
    return datetime.fromtimestamp(moment, timezone.utc).astimezone(zone)


def named(fields, wall):
    found = [wall.minute, wall.hour, wall.day, wall.month, wall.isoweekday() % 7]
    return all("*" in field or value in field for field, value in zip(fields, found))


def walk(expression, zone, first, last):
    """All moments between two, minute by minute, that the expression names by the rules."""
    every_hour, fields = expression.split()[1].startswith("*"), croniter.expand(expression)[0]
    moments, latest = set(), None
    for moment in range(first - 86400, last + 1, 60):
        wall = at(moment, zone).replace(tzinfo=None)
        if latest is not None and wall > latest + timedelta(minutes=1) and not every_hour:
            skipped, gap = latest + timedelta(minutes=1), wall - latest - timedelta(minutes=1)
            while skipped < wall:
                if named(fields, skipped):
                    moments.add(moment + int((skipped + gap - wall).total_seconds()))
                skipped += timedelta(minutes=1)
        is_new = latest is None or wall > latest
        if named(fields, wall) and (is_new or every_hour):
            moments.add(moment)
        latest = wall if is_new else latest
    return sorted(moment for moment in moments if first <= moment <= last)


class WalkTest(unittest.TestCase):
    def check(self, library):
        for name, day in CHANGES:
            zone = MAKERS[library](name)
            middle = int(day.replace(tzinfo=timezone.utc).timestamp())
            for expression in EXPRESSIONS:
                due = walk(expression, zone, middle - 3 * 86400, middle + 3 * 86400)
                for hour in range(-24, 36, 3):
                    start = middle + hour * 3600 + 600 * (hour % 2 + 1)
                    told = (library, name, expression, at(start, zone).isoformat())
                    later = at(min(moment for moment in due if moment > start), zone)
                    found = croniter(expression, at(start, zone)).get_next(datetime)
                    self.assertEqual(found.isoformat(), later.isoformat(), told)
                    earlier = at(max(moment for moment in due if moment < start), zone)
                    found = croniter(expression, at(start, zone)).get_prev(datetime)
                    self.assertEqual(found.isoformat(), earlier.isoformat(), told)

    def test_zoneinfo(self):
        self.check("zoneinfo")

    def test_dateutil(self):
        self.check("dateutil")

    def test_pytz(self):
        self.check("pytz")


class RulesTest(unittest.TestCase):
    zone = ZoneInfo("Europe/Paris")

    def found(self, expression, start, count, backwards=False):
        schedule = croniter(expression, start)
        step = schedule.get_prev if backwards else schedule.get_next
        return [step(datetime).isoformat() for _ in range(count)]

    def test_a_day_that_was_left_out(self):
        zone = ZoneInfo("Pacific/Apia")
        start = datetime(2011, 12, 28, 13, tzinfo=zone)
        expected = ["2011-12-29T12:00:00-10:00", "2011-12-31T12:00:00+14:00", "2012-01-01T12:00:00+14:00"]
        self.assertEqual(self.found("0 12 * * *", start, 3), expected)
        self.assertEqual(self.found("0 12 * * *", datetime(2012, 1, 1, 13, tzinfo=zone), 3, True), expected[::-1])

    def test_forth_and_back_over_an_hour_that_is_shown_twice(self):
        start = datetime(2024, 10, 27, 1, 45, tzinfo=self.zone)
        expected = ["2024-10-27T02:%s:00%s" % time for time in [("00", "+02:00"), ("30", "+02:00"), ("00", "+01:00"), ("30", "+01:00")]]
        self.assertEqual(self.found("*/30 * * * *", start, 4), expected)
        self.assertEqual(self.found("*/30 * * * *", datetime(2024, 10, 27, 2, 45, fold=1, tzinfo=self.zone), 4, True), expected[::-1])

    def test_a_fixed_time_is_not_done_again(self):
        start = datetime(2024, 10, 27, 2, 35, tzinfo=self.zone)
        self.assertEqual(self.found("30 2 * * *", start, 1), ["2024-10-28T02:30:00+01:00"])
        start = datetime(2024, 10, 27, 4, tzinfo=self.zone)
        self.assertEqual(self.found("30 2 * * *", start, 2, True), ["2024-10-27T02:30:00+02:00", "2024-10-26T02:30:00+02:00"])

    def test_range_and_match(self):
        start, stop = datetime(2024, 3, 30, 1, tzinfo=self.zone), datetime(2024, 4, 1, 3, tzinfo=self.zone)
        found = [moment.isoformat() for moment in croniter_range(start, stop, "30 2 * * *")]
        self.assertEqual(found, ["2024-03-30T02:30:00+01:00", "2024-03-31T03:30:00+02:00", "2024-04-01T02:30:00+02:00"])
        self.assertTrue(croniter.match("30 2 * * *", datetime(2024, 3, 31, 3, 30, tzinfo=self.zone)))
        self.assertFalse(croniter.match("30 2 * * *", datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=self.zone)))
        self.assertTrue(croniter.match("30 2 * * *", datetime(2024, 10, 27, 2, 30, tzinfo=self.zone)))
        self.assertTrue(croniter.match("30 * * * *", datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=self.zone)))

    def test_seconds(self):
        start = datetime(2024, 10, 27, 2, 59, 50, tzinfo=self.zone)
        expected = ["2024-10-27T02:59:55+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T02:00:05+01:00"]
        self.assertEqual(self.found("* * * * * */5", start, 3), expected)

    def test_without_a_zone_nothing_changes(self):
        start = datetime(2024, 3, 30, 13)
        self.assertEqual(croniter("0 12 * * *", start).get_next(datetime), datetime(2024, 3, 31, 12))
        self.assertEqual(croniter("30 2 * * *", 1711760400.0).get_next(), 1711765800.0)


if __name__ == "__main__":
    unittest.main()
