"""Rules for every test of the project."""

import logging
import sys

import pytest

import salt
from tests import told
from tests.beside import ByKind, give_way

# Salt 3008's NaclImporter has no find_spec, which pytest's importlib mode calls on every finder.
assert salt
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A skip is never green: what was not run fails, with the reason that the skip gave."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was not run, which counts as a failure: {reason}"


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(told.AtOnce(config))


def pytest_xdist_make_scheduler(config, log):
    return ByKind(config, log)


def pytest_runtest_setup(item):
    give_way(item)


def pytest_sessionfinish(session):
    told.hand_over(session.config)


def pytest_testnodedown(node, error):
    told.take_over(node)


def pytest_terminal_summary(terminalreporter):
    told.show(terminalreporter)


def pytest_unconfigure():
    """Salt's exit handlers log after pytest has closed its streams: no tracebacks about that."""
    logging.raiseExceptions = False
