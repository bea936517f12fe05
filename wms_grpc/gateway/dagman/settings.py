"""What a DAG says of itself: its configuration, and files and attributes that need DAGMan.

Annotations, under `dagman`, keep each command with its words: `config` (the settings of the
configuration file that have no field), `config_file` (one that is not in the bundle), `dot`,
`node_status_file`, `jobstate_log`, `env`, `set_job_attr`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from wms_grpc.gateway.dagman.commands import Setting
from wms_grpc.gateway.dagman.lines import BLANKS, Line, logical_lines
from wms_grpc.gateway.dagman.text import Findings, decoded, refuse
from wms_grpc.gateway.model import Bundle, FindingSeverity

__all__ = ["MAX_IDLE_KEY", "MAX_RUNNING_KEY", "Settings"]

MAX_RUNNING_KEY: Final = "DAGMAN_MAX_JOBS_SUBMITTED"
MAX_IDLE_KEY: Final = "DAGMAN_MAX_JOBS_IDLE"
_APPEND_KEY: Final = "DAGMAN_DEFAULT_APPEND_VARS"

_PAIR = re.compile(r"([A-Za-z_][\w.]*)\s*=\s*(.*)", re.DOTALL)

_REPORTS: Final[dict[str, tuple[FindingSeverity, str]]] = {
    "DOT": ("info", "the picture is not written; `ewms show --graph` draws it"),
    "NODE_STATUS_FILE": ("info", "the status file is not written; `ewms show` tells the state"),
    "JOBSTATE_LOG": ("info", "the log is not written; the workflow's history is the log"),
    "ENV": ("warning", "the environment of DAGMan itself: there is none here"),
    "SET_JOB_ATTR": ("warning", "an attribute of DAGMan's own job: there is none here"),
}


class Settings:
    """The settings of a DAG."""

    def __init__(self, settings: Iterable[Setting], bundle: Bundle, findings: Findings) -> None:
        self.annotations: dict[str, object] = {}
        self.max_running: int | None = None
        self.max_idle: int | None = None
        self.appends_variables = False
        self._bundle = bundle
        self._findings = findings
        self._config_path = ""
        for setting in settings:
            if setting.keyword == "CONFIG":
                self._configure(setting)
            else:
                self._keep(setting)

    def _keep(self, setting: Setting) -> None:
        severity, message = _REPORTS[setting.keyword]
        self._findings.add(
            "NEEDS_ACCESS_POINT", message, setting.position, setting.keyword, severity
        )
        kept = self.annotations.setdefault(setting.keyword.lower(), [])
        if isinstance(kept, list):
            kept.append(list(setting.words))

    def _configure(self, setting: Setting) -> None:
        path, said = setting.words
        if self._config_path and self._config_path != path:
            message = f"the DAG has the configuration file {self._config_path} already"
            refuse("DUPLICATE_CONFIG", message, setting.position, said)
        is_new, self._config_path = not self._config_path, path
        if path not in self._bundle.files:
            message = f"the configuration file {said} is not in the bundle"
            self._findings.add("MISSING_FILE", message, setting.position, said, "error")
            self.annotations["config_file"] = path
        elif is_new:
            text = decoded(path, self._bundle.files[path], self._findings)
            for line in logical_lines(path, text, comments=("#",), joint="", over_blanks=False):
                self._set(line)

    def _set(self, line: Line) -> None:
        match = _PAIR.fullmatch(line.text)
        if match is None:
            message = f"{line.text[:40]!r} is no setting"
            self._findings.add("CONFIG_SYNTAX", message, line.position(), severity="error")
            return
        key, value = match[1].upper(), match[2].strip(BLANKS)
        if key in (MAX_RUNNING_KEY, MAX_IDLE_KEY) and re.fullmatch(r"[0-9]{1,9}", value):
            limit = int(value) or None  # 0: no limit
            if key == MAX_RUNNING_KEY:
                self.max_running = limit
            else:
                self.max_idle = limit
            return
        if key == _APPEND_KEY:
            self.appends_variables = value.lower() in ("true", "yes", "t", "y", "1")
            return
        message = f"{key} is kept, and has no counterpart"
        self._findings.add("NO_COUNTERPART", message, line.position(), key)
        config = self.annotations.setdefault("config", {})
        if isinstance(config, dict):
            config[key] = value
