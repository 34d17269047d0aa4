"""Which sources and destinations there are: read from connector.yaml, or from the environment where there is no file.

A changed file is taken up while the process runs; a broken one is refused, and the last good one stays in force.
"""

from connector.connections.loading import (
    LiveConnections,
    load_connections,
    referenced_variables,
    write_yaml_from_environment,
)
from connector.connections.warning import warnings

__all__ = ["LiveConnections", "load_connections", "referenced_variables", "warnings", "write_yaml_from_environment"]
