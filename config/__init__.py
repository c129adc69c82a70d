"""What may be said in scaigrid.yaml: load(), the Document it gives, and ConfigError with every problem.

Pure data: imports nothing else of ours.
"""

from config.capabilities import FEATURES, Capabilities
from config.catalog import Provider, Timeouts
from config.credentials import Entra, Vertex
from config.document import Document, Server, Tls
from config.edit import edited
from config.edit_change import GONE, Change, EditConflict, EditRefused
from config.edit_diff import changed_on_disk
from config.edit_routes import shared_by, switch_changes
from config.edit_write import write
from config.limits import (
    KEY_REQUESTS_PER_MINUTE,
    PARTNER_REQUESTS_PER_MINUTE,
    TENANT_REQUESTS_PER_MINUTE,
    UNAUTHENTICATED_REQUESTS_PER_MINUTE,
    UNLIMITED,
    USER_REQUESTS_PER_MINUTE,
    Budget,
    RateLimits,
)
from config.load import Loaded, load
from config.models import FrontendModel
from config.parameters import DefaultParams, Modality
from config.prices import Price, Tier
from config.problems import ConfigError, Place, Problem
from config.routing import RoutingPolicy, Target
from config.scalars import Listen
from config.services import SERVICES, Service
from config.tenancy import ApiKey, Group, Partner, Role, Tenant, User

__all__ = [
    "FEATURES",
    "GONE",
    "KEY_REQUESTS_PER_MINUTE",
    "PARTNER_REQUESTS_PER_MINUTE",
    "SERVICES",
    "TENANT_REQUESTS_PER_MINUTE",
    "UNAUTHENTICATED_REQUESTS_PER_MINUTE",
    "UNLIMITED",
    "USER_REQUESTS_PER_MINUTE",
    "ApiKey",
    "Budget",
    "Capabilities",
    "Change",
    "ConfigError",
    "DefaultParams",
    "Document",
    "EditConflict",
    "EditRefused",
    "Entra",
    "FrontendModel",
    "Group",
    "Listen",
    "Loaded",
    "Modality",
    "Partner",
    "Place",
    "Price",
    "Problem",
    "Provider",
    "RateLimits",
    "Role",
    "RoutingPolicy",
    "Server",
    "Service",
    "Target",
    "Tenant",
    "Tier",
    "Timeouts",
    "Tls",
    "User",
    "Vertex",
    "changed_on_disk",
    "edited",
    "load",
    "shared_by",
    "switch_changes",
    "write",
]
