"""What tests have to say when they pass: figures and tables, shown before pytest's own summary."""

from __future__ import annotations

TOLD: dict[str, list[str]] = {}


def tell(section: str, text: str) -> None:
    """Show `text` under that heading at the end of the run, whichever process runs the test."""
    TOLD.setdefault(section, []).append(text)


def hand_over(config) -> None:
    """In a worker of pytest-xdist: send what was told to the process that prints."""
    if hasattr(config, "workeroutput"):
        config.workeroutput["told"] = TOLD


def take_over(worker) -> None:
    """Where it prints: what a worker that has ended was told. One that crashed has sent nothing."""
    for section, texts in getattr(worker, "workeroutput", {}).get("told", {}).items():
        TOLD.setdefault(section, []).extend(texts)


class AtOnce:
    """A plugin of the process that prints: a run takes long, so a failure is named at once."""

    def __init__(self, config):
        self._config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            reporter = self._config.pluginmanager.getplugin("terminalreporter")
            reporter.write_line(f"\nfailed in {report.when}: {report.nodeid}", red=True)


def show(terminalreporter) -> None:
    for section, texts in TOLD.items():
        terminalreporter.section(section)
        for text in texts:
            terminalreporter.write_line(text)
