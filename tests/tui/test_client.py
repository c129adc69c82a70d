"""The HTTP client against the real appliance, and against servers that are none."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.appliance import ROOT, Gateway, free_port
from support.cli import scaigrid
from support.server_process import *  # noqa: F403
from support.upstream import Call, Upstream

from tui.client import Client, ClientError, Stream
from tui.locate import Place
