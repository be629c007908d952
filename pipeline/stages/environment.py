"""What the bits of a run depend on beside code, configuration, data and seed."""

from pipeline.stages.stage import RunContext
from pipeline.store.records import Environment


def environment_of(context: RunContext, *, threads: int) -> Environment:
    """The environment of this process, for the manifest."""
    from pipeline.modeling.device import autocast_dtype, choose_device, torch_facts
    from pipeline.store.environment import gather_environment

    device = choose_device(context.device)
    section = context.config.train if context.launch is None else context.config.launch
    precision = "bf16" if autocast_dtype(section.precision, device) is not None else "fp32"
    return gather_environment(
        device=str(device), precision=precision, threads=threads, torch_facts=torch_facts()
    )
