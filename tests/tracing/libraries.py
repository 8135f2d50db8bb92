"""The tracing libraries: where scripts/tracing has put them, and how an application sets them up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_FOLDERS = Path(__file__).parents[2] / ".tracing"

#: Behind what is installed beside laraq: they bring some of the same packages along.
_FOUND = """
import os, sys
sys.path.append(os.environ["TRACING"])
"""

#: Nothing they collect leaves the process.
_SENTRY = """
import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

class Nowhere(Transport):
    def capture_envelope(self, envelope):
        pass

sentry_sdk.init(
    "http://nobody@127.0.0.1:9/1",
    transport=Nowhere,
    traces_sample_rate=1.0,
    integrations=[CeleryIntegration()],
    auto_enabling_integrations=False,  # else each process imports all that Sentry knows
)

HEADER = "sentry-trace"

def begun():
    return sentry_sdk.start_transaction(op="test", name="sender")

def trace():
    span = sentry_sdk.get_current_span()
    return span and span.trace_id
"""

_DATADOG = """
os.environ.update(
    DD_CELERY_DISTRIBUTED_TRACING="true",
    DD_TRACE_AGENT_URL="http://127.0.0.1:9",
    DD_TRACE_STARTUP_LOGS="false",
    DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
    DD_REMOTE_CONFIGURATION_ENABLED="false",
)
import ddtrace.auto
from ddtrace.trace import TraceFilter, tracer

class Nowhere(TraceFilter):
    def process_trace(self, trace):
        return None

tracer.configure(trace_processors=[Nowhere()])

HEADER = "x-datadog-trace-id"

def begun():
    return tracer.trace("sender")

def trace():
    span = tracer.current_span()
    return span and f"{span.trace_id:032x}"
"""

_OPENTELEMETRY = """
from opentelemetry import trace as api
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider

api.set_tracer_provider(TracerProvider())
CeleryInstrumentor().instrument()

HEADER = "traceparent"

def begun():
    return api.get_tracer("test").start_as_current_span("sender")

def trace():
    context = api.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
"""

_SETUPS = {"sentry-2.20": _SENTRY, "sentry": _SENTRY, "ddtrace": _DATADOG, "opentelemetry": _OPENTELEMETRY}


def folder_of(name: str) -> Path:
    """Where a library is. One that could not be installed skips the test, and fails it where CI=true."""
    folder = _FOLDERS / name
    if not (folder / ".made").exists():
        why = f"{name} is not in {folder}: make tracing"
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    return folder


def set_up(name: str) -> tuple[str, str]:
    """The folder of a library, and `tracing.py`, the module of a project that sets it up."""
    return str(folder_of(name)), _FOUND + _SETUPS[name]
