"""A pytest plugin under which xarray's own tests of Zarr run with daskzarr behind xarray's names, and are counted.

Which cannot apply, and which are known to fail, is in a file. The run fails if any other one does, if one that is known
to fail passes, or if fewer pass than the file wants.
"""

import collections
import fnmatch
import functools
import tomllib
from pathlib import Path

import pytest

EXPECTED = Path(__file__).with_name("expected.toml")
ENGINE_METHODS = ("open_dataset", "open_datatree", "open_groups_as_dict", "guess_can_open")


def pytest_addoption(parser):
    """Another list than the one beside this file, for the tests of this plugin."""
    parser.addoption("--expected", type=Path, default=EXPECTED, help="which tests do not apply, and which fail")


def pytest_configure(config):
    """Only where this is a plugin is anything put behind xarray's names."""
    config.addinivalue_line("markers", "skip_if_param(reason, **params): not for these parameters; xarray's own")
    config.pluginmanager.register(Suite(config), "daskzarr-suite")


class Suite:
    """One run of the tests: ``calls`` says whether the test at hand has called daskzarr."""

    def __init__(self, config):
        self.config = config
        self.expected = tomllib.loads(config.getoption("expected").read_text())
        self.calls = 0
        self.tally = Tally(self.expected)
        self.take_over()

    def take_over(self):
        """Put daskzarr behind xarray's names, noting each call."""
        from daskzarr.xarray import install, taking_over

        install()
        for owner, name, value in taking_over._REPLACEMENTS:
            setattr(owner, name, self.noted(value))
        for engine in (taking_over.ZarrEngine, taking_over.DaskzarrBackendEntrypoint):
            for name in ENGINE_METHODS:
                if name in vars(engine):
                    setattr(engine, name, self.noted(vars(engine)[name]))

    def noted(self, function):
        """The same function, whose calls are noted."""

        @functools.wraps(function)
        def call(*args, **kwargs):
            self.calls += 1
            return function(*args, **kwargs)

        return call

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        """Keep the tests of Zarr; skip those that cannot apply, and expect those to fail that are known to."""
        kept = [item for item in items if is_of_zarr(item)]
        config.hook.pytest_deselected(items=[item for item in items if not is_of_zarr(item)])
        items[:] = kept
        for item in kept:
            apart, fails = (listed(item, self.expected.get(kind, [])) for kind in ("not_applicable", "fails"))
            item.user_properties.append(("expected", {"apart": apart, "fails": fails}))
            if apart is not None:
                item.add_marker(pytest.mark.skip(reason=apart))
            elif not_for_these_parameters(item):
                item.add_marker(pytest.mark.skip(reason="not for these parameters"))
            elif fails is not None:
                item.add_marker(pytest.mark.xfail(reason=fails, strict=True))

    def pytest_runtest_setup(self):
        """A new test has called nothing."""
        self.calls = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        """Say in the report, which may go to another process, whether daskzarr was called."""
        report = yield
        report.called = self.calls > 0
        return report

    def pytest_runtest_logreport(self, report):
        """Count it."""
        self.tally.add(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        """The run fails, too, if fewer pass than are to."""
        if exitstatus == pytest.ExitCode.OK and self.is_whole_run() and self.tally.is_short():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def is_whole_run(self):
        """Whether this process counts, and all tests are run."""
        options = self.config.option
        return not hasattr(self.config, "workerinput") and not (options.keyword or options.collectonly)

    def pytest_terminal_summary(self, terminalreporter):
        """The counts."""
        terminalreporter.section("xarray's own tests of Zarr, by daskzarr")
        for line in self.tally.lines(whole=self.is_whole_run()):
            terminalreporter.write_line(line)


class Tally:
    """What became of the tests that ran."""

    def __init__(self, expected):
        self.expected = expected
        self.ids = collections.defaultdict(set)
        self.apart, self.seen = collections.Counter(), set()

    def add(self, report):
        """Count one report; a test has three, of which the worst one tells."""
        known = dict(report.user_properties).get("expected")
        if known is None:
            return
        self.seen |= set(known.values())
        xfailed = hasattr(report, "wasxfail")
        if report.failed:
            self.ids["failed"].add(report.nodeid)
        elif report.skipped and known["apart"]:
            self.apart[known["apart"]] += 1
        elif report.skipped and xfailed:
            self.ids["known to fail" if known["fails"] else "xfailed"].add(report.nodeid)
        elif report.skipped:
            self.ids["skipped"].add(report.nodeid)
        elif report.when == "call":
            self.ids["passed" if report.called else "elsewhere"].add(report.nodeid)

    @property
    def passed(self):
        """How many passed."""
        return len(self.ids["passed"] - self.ids["failed"])

    @property
    def share(self):
        """How many passed of those that apply."""
        return self.passed / max(self.passed + len(self.ids["failed"] | self.ids["known to fail"]), 1)

    def is_short(self):
        """Whether fewer passed than are to."""
        return self.passed < self.expected.get("least_passed", 1) or self.share < self.expected.get("least_share", 0.99)

    def lines(self, *, whole):
        """What there is to say."""
        yield (
            f"{self.passed} passed, {len(self.ids['known to fail'])} failed as expected, {len(self.ids['failed'])} "
            f"otherwise: {self.share:.2%} passed of those that apply"
        )
        yield (
            f"{sum(self.apart.values())} do not apply, {len(self.ids['elsewhere'])} passed without calling daskzarr, "
            f"{len(self.ids['skipped'])} skipped themselves, {len(self.ids['xfailed'])} are expected to fail by xarray"
        )
        for reason, count in self.apart.most_common():
            yield f"  {count:4} do not apply: {reason}"
        for name, count in sorted(collections.Counter(map(function_of, self.ids["elsewhere"])).items()):
            yield f"  {count:4} without calling daskzarr: {name}"
        for entry in self.entries if whole else ():
            if entry["reason"] not in self.seen:
                yield f"  listed, and not there: {entry['class']}::{entry['test']}"
        if whole and self.is_short():
            yield "TOO FEW PASSED"

    @property
    def entries(self):
        """All that the list has."""
        return [*self.expected.get("not_applicable", []), *self.expected.get("fails", [])]


def is_of_zarr(item):
    """Whether a test names Zarr: its class, its name, its parameters, its fixtures, or what it requires."""
    required = (mark.kwargs.get("reason", "") for mark in item.iter_markers("skipif"))
    name = item.nodeid.split("::", 1)[1]
    return any("zarr" in text.lower() for text in (name, *item.fixturenames, *required))


def function_of(nodeid):
    """The class and the function of a test, without its parameters."""
    return nodeid.split("::", 1)[1].split("[")[0]


def listed(item, entries):
    """The reason that the list gives for a test, None if it is not there."""
    group = item.cls.__name__ if item.cls else ""
    parameters = getattr(getattr(item, "callspec", None), "id", "")
    for entry in entries:
        wanted = (entry.get("class", "*"), entry["test"], entry.get("parameters", "*"))
        if all(map(fnmatch.fnmatchcase, (group, item.originalname, parameters), wanted)):
            return entry["reason"]
    return None


def not_for_these_parameters(item):
    """Whether xarray's marker says that a test makes no sense for its parameters."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return any(
        all(parameters.get(name) == value for name, value in mark.kwargs.items() if name not in ("reason", "condition"))
        for mark in item.iter_markers("skip_if_param")
        if mark.kwargs.get("condition", True)
    )
