"""Put a version of a line into service: a flow of its own, so that nothing waits for the person who decides.

In Prefect its form asks for the version, the name and the reason; `irp promote` does the same without a server.
"""

from __future__ import annotations

from prefect import flow

from flows.line.working import opened
from tasks.promotion.deciding import promote_version

__all__ = ["promote"]


@flow(name="promote", flow_run_name="promote-{line}-{version}", persist_result=False)
def promote(line: str, version: int, by: str, why: str, project: str = ".") -> str:
    """Put a version into service; returns what it replaced, or an empty text.

    Args:
        line: the line's name.
        version: number of the version.
        by: who decides.
        why: the reason, for the record.
        project: the project's folder.
    """
    with opened(line, project) as (definition, params):
        return promote_version(definition, params, str(version), by, why).replaced or ""
