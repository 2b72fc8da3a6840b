"""Write the table of scenarios in docs/conformance.md: `python -m tests.lab.scenarios`."""

from tests.lab.scenarios import DOCUMENT, rendered

if __name__ == "__main__":
    DOCUMENT.write_text(rendered(DOCUMENT.read_text()))
