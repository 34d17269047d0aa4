"""What another source of the same events made of them, beside what the connector makes: matched, compared, explained.

Pure. Where the events come from (exports, the journal) is the command's business.
"""

from connector.comparison.forms import Form, Sighting, adobe_row, payload_sighting, rudderstack_row, standard_sighting
from connector.comparison.known import ADOBE, RUDDERSTACK, Knowledge
from connector.comparison.pairs import Compared, Difference, Place, Report, compare

__all__ = [
    "ADOBE",
    "RUDDERSTACK",
    "Compared",
    "Difference",
    "Form",
    "Knowledge",
    "Place",
    "Report",
    "Sighting",
    "adobe_row",
    "compare",
    "payload_sighting",
    "rudderstack_row",
    "standard_sighting",
]
