"""Which keys of a submit description are commands of condor_submit, as of HTCondor 25.14.

Any other key is a macro of the user's. Families go by their prefix, so that a new member of one is
no macro.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_command"]

_FAMILIES: Final = re.compile(
    r"(accounting|allow|allowed|arc|aws|azure|batch|buffer|checkpoint|cloud|concurrency|container"
    r"|copy|core|cron|cuda|dagman|deferral|docker|dont|ec2|email|encrypt|gce|globus|gpus|grid|gs"
    r"|hold|image|interactive|jar|java|job|keep|keystore|kill|leave|match|max|mount|mpi|nordugrid"
    r"|on|output|parallel|periodic|pre|post|preserve|primary|public|remote|remove|request|require"
    r"|retry|run|s3|scitokens|should|skip|stack|starter|stream|submit|success|suspend|tool|transfer"
    r"|uber|ulog|use|vm|want|when|xen)_\w+"
)
_SINGLE: Final = frozenset(
    [
        "append_files",
        "compress_files",
        "fetch_files",
        "getenv",
        "get_env",
        "hold",
        "jobset",
        "load_profile",
        "local_files",
        "log",
        "log_xml",
        "machine_count",
        "manifest",
        "next_job_start_delay",
        "nice_user",
        "node_count",
        "noop_job",
        "noop_job_exit_code",
        "noop_job_exit_signal",
        "notification",
        "notify_user",
        "prio",
        "priority",
        "project_name",
        "shell",
        "universe",
        "x509userproxy",
    ]
)


def is_command(key: str) -> bool:
    """Whether condor_submit takes the key, in lower case, for a command or a job's attribute."""
    return key.startswith("my.") or key in _SINGLE or _FAMILIES.fullmatch(key) is not None
