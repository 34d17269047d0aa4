"""The naming dialects: one table each. `raw` is the absence of one."""

from connector.profiles.customerio import CUSTOMERIO
from connector.profiles.dialect import Dialect
from connector.profiles.rudderstack import RUDDERSTACK
from connector.profiles.segment import SEGMENT

RAW = "raw"  # the payload leaves as it came

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (RUDDERSTACK, SEGMENT, CUSTOMERIO)}

PROFILES: tuple[str, ...] = (*DIALECTS, RAW)
