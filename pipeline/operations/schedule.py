"""Files that let cron, systemd or Kubernetes run the month: printed ready to be installed, never installed."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

LOG_FILE = "retrain.log"
DAY, HOUR, MINUTE = 2, 3, 17
"""On the second of the month, when the last feedback of the one before it has arrived; not on the hour."""

_ADDRESS = re.compile(r"\A[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\Z")
_NAME = re.compile(r"\A[a-z0-9]([a-z0-9./:@_-]{0,250}[a-z0-9])?\Z")


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Attributes:
        program: the absolute path of `retrain`.
        workspace: the absolute path of the workspace.
        mail: who is told of a failure; None for nobody.
        image: for Kubernetes, the container image that holds the program.
        volume: for Kubernetes, the persistent volume claim that holds the workspace.
    """

    program: Path
    workspace: Path
    mail: str | None = None
    image: str = "monthly-retrain:latest"
    volume: str = "retrain-workspace"

    def __post_init__(self) -> None:
        for path in (self.program, self.workspace):
            if not path.is_absolute() or not str(path).isprintable():
                raise UsageError(f"{str(path)!r}: expected an absolute path without control characters")
        if self.mail is not None and not _ADDRESS.match(self.mail):
            raise UsageError(f"--mail {self.mail!r}: expected an address such as ops@example.org")
        for option, name in (("--image", self.image), ("--volume", self.volume)):
            if not _NAME.match(name):
                raise UsageError(f"{option} {name!r}: expected lower-case letters, digits and . / : @ _ -")


def cron(job: Job) -> str:
    """A crontab fragment. The program's own lock keeps two runs apart and names the holder.

    cron mails what is printed: the log takes everything, and is shown again only when the run failed.
    """
    log = shlex.quote(str(job.workspace / LOG_FILE))
    run = f"{shlex.quote(str(job.program))} run --workspace {shlex.quote(str(job.workspace))}"
    # in a crontab a bare % ends the command
    command = f"umask 077; {run} >> {log} 2>&1 || {{ code=$?; tail -n 40 {log}; exit $code; }}".replace(
        "%", "\\%"
    )
    return "\n".join(
        [
            "# Retrain on the previous month's feedback. Install with: crontab -e",
            "# A run that was stopped goes on when the line is run again; a finished month does nothing.",
            *([f"MAILTO={job.mail}"] if job.mail else ["# MAILTO=ops@example.org"]),
            "SHELL=/bin/sh",
            "CRON_TZ=UTC",
            f"{MINUTE} {HOUR} {DAY} * * {command}",
        ]
    )


def systemd(job: Job) -> str:
    """A shell script that writes the user units: service, timer with `Persistent=true`, and a mail on failure."""
    log = str(job.workspace / LOG_FILE).replace("%", "%%")
    run = f"{_word(str(job.program))} run --workspace {_word(str(job.workspace))}"
    mail = job.mail or "root"
    told = f"systemctl --user status --lines=0 retrain.service | mail -s 'retrain failed' {mail}"
    units = {
        "retrain.service": [
            "[Unit]",
            "Description=Retrain on the feedback of the previous month",
            "OnFailure=retrain-failed.service",
            "",
            "[Service]",
            "Type=oneshot",
            f"ExecStart={run}",
            "# 3: the gate refused, and the champion stays",
            "SuccessExitStatus=3",
            "UMask=0077",
            "# a stopped run saves its state first",
            "TimeoutStopSec=300",
            f"StandardOutput=append:{log}",
            f"StandardError=append:{log}",
        ],
        "retrain.timer": [
            "[Unit]",
            "Description=Retrain every month",
            "",
            "[Timer]",
            f"OnCalendar=*-*-{DAY:02d} {HOUR:02d}:{MINUTE:02d}:00 UTC",
            "# a machine that was off then makes up for it",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
        ],
        "retrain-failed.service": [
            "[Unit]",
            "Description=Tell that retraining failed",
            "",
            "[Service]",
            "Type=oneshot",
            f'ExecStart=/bin/sh -c "{told}"',
        ],
    }
    lines = [
        "# Install with: retrain schedule systemd | sh",
        "set -e",
        "units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user",
        'mkdir -p "$units"',
    ]
    for name, unit in units.items():
        lines += [f"cat > \"$units/{name}\" <<'END_OF_UNIT'", *unit, "END_OF_UNIT"]
    return "\n".join(
        [*lines, "systemctl --user daemon-reload", "systemctl --user enable --now retrain.timer"]
    )


def kubernetes(job: Job) -> str:
    """A CronJob that never runs twice at once, with the workspace on a volume claim."""
    import yaml

    container = {
        "name": "retrain",
        "image": job.image,
        # the program sets its own umask, and its log goes where the cluster collects it
        "command": ["retrain", "run", "--workspace", "/workspace"],
        "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
        "resources": {"requests": {"cpu": "4", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
        "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
    }
    pod = {
        "restartPolicy": "Never",  # podFailurePolicy asks for it
        "terminationGracePeriodSeconds": 300,
        "containers": [container],
        "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": job.volume}}],
    }
    # these would come out the same again; everything else may be mended by another try
    verdicts = {"containerName": "retrain", "operator": "In", "values": [3, 4, 5, 65, 66, 78]}
    document = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "retrain"},
        "spec": {
            "schedule": f"{MINUTE} {HOUR} {DAY} * *",
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 86400,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 2,
                    "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": verdicts}]},
                    "template": {"spec": pod},
                }
            },
        },
    }
    note = "# Install with: kubectl apply -f FILE. Logs: kubectl logs job/NAME. A failed Job is what to alert on.\n"
    return note + yaml.safe_dump(document, sort_keys=False).rstrip()


def _word(text: str) -> str:
    """A word of ExecStart: quoted, with systemd's own signs escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
