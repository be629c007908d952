"""What a month was asked for, and what comes of it: promoted, refused or kept."""

from dataclasses import dataclass
from typing import Literal

from pipeline.evaluation.gate import Verdict
from pipeline.inspection.reporting import try_report
from pipeline.month.journal import Journal
from pipeline.month.wish import Runtime, Wish
from pipeline.months import Month
from pipeline.recorded.lineage import has_learned
from pipeline.recorded.scorecards import recorded_verdict
from pipeline.stages.finetune import candidate_of, recorded_penalty
from pipeline.stages.stage import RunContext
from pipeline.store.records import CheckpointRef, GateOutcome, Manifest
from pipeline.store.registry import promote, read_registry, succession

DONE, REFUSED = 0, 3


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        status: `promoted`, `refused`, `kept` (passed, but not promoted), `stopped` (at --until), `empty`.
        already: nothing was done, because all was done before.
        rolled_back: it was promoted, and that was taken back since.
        reasons: why the gate refused.
    """

    month: Month
    attempt: str
    status: Literal["promoted", "refused", "kept", "stopped", "empty"]
    already: bool
    forced: bool
    reasons: tuple[str, ...]
    exit_code: int
    rolled_back: bool = False


def decide(context: RunContext, *, wish: Wish, runtime: Runtime, journal: Journal) -> Outcome:
    """Promote or refuse, and finish the manifest."""
    verdict = recorded_verdict(context.output("eval"))
    candidate = candidate_of(context)
    champion = read_registry(context.workspace).champion
    # a month that is run again late does not replace a newer champion; a launch starts anew and does
    older = context.launch is None and champion is not None and champion.month > candidate.month
    forced = wish.promote is True and not verdict.passed
    wanted = wish.promote is not False and (verdict.passed or forced) and (not older or wish.promote is True)
    gate = GateOutcome(passed=verdict.passed, promoted=wanted, forced=forced, reasons=verdict.reasons)
    if wanted:
        _promote(context, candidate, gate, runtime=runtime)
    elif older and verdict.passed and champion is not None:
        journal.tell(
            "kept",
            f"{context.month}: passed, but the champion is newer ({champion.month}); not promoted"
            + (", the next month learns its rows, too" if context.config.ingest.carry_refused else ""),
        )
    code = DONE if verdict.passed or forced else REFUSED
    manifest = context.attempt.read_manifest()
    context.attempt.write_manifest(
        manifest.model_copy(
            update={
                "status": "finished",
                "candidate": candidate,
                "penalty": recorded_penalty(context),
                "verdict": gate,
                "exit_code": code,
            }
        ),
    )
    for reason in verdict.reasons:
        journal.tell("gate", f"{context.month} gate: {reason}")
    journal.tell(
        "finished", f"{context.month}: {gate.status}{' (forced)' if forced else ''}", status=gate.status
    )
    if gate.status == "refused":
        journal.tell("advice", f"{context.month}: {_after_a_refusal(context, verdict)}")
    try_report(context.workspace, context.attempt)
    return Outcome(context.month, context.attempt.attempt, gate.status, False, forced, verdict.reasons, code)


def _after_a_refusal(context: RunContext, verdict: Verdict) -> str:
    kept = "the champion stays"
    if has_learned(context.workspace, context.month):
        kept += ", and has learned this month's rows already"
    elif context.config.ingest.carry_refused and str(context.month) not in context.config.ingest.leave_out:
        kept += ", and the next month learns this one's rows, too"
    failed = {check.name for check in verdict.checks if not check.passed}
    ways = []
    if failed & {"present", "rows"}:
        ways.append(
            f"Mend the golden sets ({context.config.golden.path}), then: retrain run --month {context.month}"
        )
    if failed - {"present", "rows"}:
        ways.append(f"What was lost: retrain diagnose {context.month}")
        if context.config.ingest.carry_refused:
            ways.append(
                f"If its rows are wrong: mend their files, or add {context.month} to ingest.leave_out in retrain.yaml"
            )
    ways.append(f"If the gate is wrong: retrain promote {context.month} --reason WHY")
    return ". ".join([kept, *ways])


def _promote(context: RunContext, candidate: CheckpointRef, gate: GateOutcome, *, runtime: Runtime) -> None:
    promote(
        context.workspace,
        candidate,
        action="launch" if context.launch is not None else "force" if gate.forced else "promote",
        by=runtime.by,
        reason="the first champion" if context.launch else "--promote" if gate.forced else "passed the gate",
        verdict=gate,
        at=runtime.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def finished_before(context: RunContext, manifest: Manifest, *, wish: Wish, runtime: Runtime) -> Outcome:
    """Repeat a finished month's outcome; `--promote` may still promote what the gate refused."""
    gate, candidate = manifest.verdict, manifest.candidate
    if gate is None or candidate is None:
        return Outcome(context.month, manifest.attempt, "empty", True, False, (), manifest.exit_code or DONE)
    registry = read_registry(context.workspace)
    if wish.promote is True and (candidate == registry.champion or candidate not in succession(registry)):
        already = registry.champion == candidate
        forced = gate.model_copy(update={"promoted": True, "forced": not gate.passed})
        _promote(context, candidate, forced, runtime=runtime)
        return Outcome(
            context.month, manifest.attempt, "promoted", already, forced.forced, gate.reasons, DONE
        )
    back = any(entry.checkpoint == candidate for entry in registry.history) and candidate not in succession(
        registry
    )
    code = manifest.exit_code or DONE
    return Outcome(
        context.month, manifest.attempt, gate.status, True, gate.forced, gate.reasons, code, rolled_back=back
    )
