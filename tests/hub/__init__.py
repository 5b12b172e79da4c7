"""A model hub on loopback that is as strict as the real one, and fails on request."""

from tests.hub.faults import Fault
from tests.hub.hub import READ_TOKEN, TOKEN, Hub
from tests.hub.server import serve

__all__ = ["READ_TOKEN", "TOKEN", "Fault", "Hub", "serve"]
