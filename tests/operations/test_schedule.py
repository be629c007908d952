"""What is printed for cron, systemd and Kubernetes is what they accept."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import UsageError
from pipeline.operations.schedule import Job, cron, kubernetes, systemd
from tests.conftest import call

JOB = Job(Path("/opt/re train/bin/retrain"), Path("/srv/work 50%$HOME's"))


def cron_line(job: Job) -> str:
    return cron(job).splitlines()[-1]


def test_cron_runs_after_the_month_has_ended_everywhere() -> None:
    minute, hour, day, month, weekday = cron_line(JOB).split()[:5]
    assert (int(day), month, weekday) == (2, "*", "*")
    assert 0 <= int(hour) < 24
    assert 0 <= int(minute) < 60


@pytest.mark.parametrize("code", [0, 3])
def test_the_line_of_cron_logs_everything_and_prints_only_when_the_run_failed(
    tmp_path: Path, code: int
) -> None:
    program, workspace = tmp_path / "my retrain", tmp_path / "50%$HOME's"
    workspace.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@"; umask; exit {code}\n')
    program.chmod(0o755)
    # what cron does: the five fields go, an escaped % is a %, the rest is the shell's
    command = cron_line(Job(program, workspace)).split(maxsplit=5)[5].replace("\\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    told = f"run --workspace {workspace}\n0077\n"
    assert (workspace / "retrain.log").read_text() == told
    assert (workspace / "retrain.log").stat().st_mode & 0o777 == 0o600
    assert done.stdout == (told if code else "")
    assert done.stderr == ""


def test_cron_mails_to_the_address_that_is_given() -> None:
    assert "\nMAILTO=ops@example.org\n" in cron(Job(JOB.program, JOB.workspace, "ops@example.org"))
    assert "\nMAILTO" not in cron(JOB)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units that the printed script writes, without switching them on."""
    program = tmp_path / "retrain"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    script = systemd(Job(program, tmp_path / "work space"))
    lines = [line for line in script.splitlines() if not line.startswith("systemctl")]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    subprocess.run(["/bin/sh"], input="\n".join(lines), text=True, check=True, env=environment)
    return tmp_path / "config" / "systemd" / "user"


def test_systemd_gets_a_service_a_persistent_timer_and_a_mail_on_failure(units: Path) -> None:
    assert {path.name for path in units.iterdir()} == {
        "retrain.service",
        "retrain.timer",
        "retrain-failed.service",
    }
    assert "Persistent=true" in (units / "retrain.timer").read_text()
    service = (units / "retrain.service").read_text()
    assert "OnFailure=retrain-failed.service" in service
    assert "SuccessExitStatus=3" in service


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(units: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", *map(str, sorted(units.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd cannot be asked here")
    assert done.returncode == 0, done.stderr
    assert "retrain" not in done.stderr


def test_systemd_escapes_what_means_something_to_it() -> None:
    assert 'ExecStart="/opt/re train/bin/retrain" run --workspace "/srv/work 50%%$$HOME\'s"' in systemd(JOB)


def test_kubernetes_never_runs_two_at_once_and_gives_time_to_save() -> None:
    found: Any = yaml.safe_load(kubernetes(JOB))
    assert (found["apiVersion"], found["kind"]) == ("batch/v1", "CronJob")
    assert found["spec"]["concurrencyPolicy"] == "Forbid"
    assert found["spec"]["timeZone"] == "Etc/UTC"
    job = found["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert pod["containers"][0]["command"][:2] == ["retrain", "run"]
    mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"workspace": Path("relative")},
        {"workspace": Path("/srv/a\nb")},
        {"mail": "a b@example.org"},
        {"mail": "a@b\nroot: x"},
        {"image": "UPPER; rm"},
        {"volume": "x\ny"},
    ],
)
def test_what_would_break_the_files_is_refused(changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {"program": JOB.program, "workspace": JOB.workspace, **changes}
    with pytest.raises(UsageError, match="expected"):
        Job(**values)


@pytest.mark.parametrize(
    ("scheduler", "told"), [("cron", "17 3 2 * *"), ("systemd", "OnCalendar"), ("k8s", "CronJob")]
)
def test_the_command_prints_to_stdout(tmp_path: Path, scheduler: str, told: str) -> None:
    done = call("schedule", scheduler, "-w", tmp_path)
    assert done.code == 0
    assert told in done.out
    assert done.err == ""


def test_another_scheduler_is_a_usage_error(tmp_path: Path) -> None:
    assert call("schedule", "at", "-w", tmp_path).code == 2
