"""What may be said in scaigrid.yaml: load(), the Document it gives, and ConfigError with every problem.

Pure data: imports nothing else of ours.
"""

from config.catalog import DefaultParams, Price, Provider, Timeouts
from config.document import Document, Server, Tls
from config.load import Loaded, load
from config.models import FrontendModel
from config.problems import ConfigError, Place, Problem
from config.routing import RoutingPolicy, Target
from config.scalars import Listen
from config.tenancy import ApiKey, Partner, Role, Tenant, User

__all__ = [
    "ApiKey",
    "ConfigError",
    "DefaultParams",
    "Document",
    "FrontendModel",
    "Listen",
    "Loaded",
    "Partner",
    "Place",
    "Price",
    "Problem",
    "Provider",
    "Role",
    "RoutingPolicy",
    "Server",
    "Target",
    "Tenant",
    "Timeouts",
    "Tls",
    "User",
    "load",
]
